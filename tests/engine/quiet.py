"""A progress display that shows nothing, counts, and can stand for a kill."""


class Killed(Exception):
    """Stands for a kill: nothing in the engine catches it."""


class Quiet:
    """Shows nothing; counts, and dies at the note number `last`."""

    def __init__(self, last=None):
        self.last, self.notes, self.steps, self.started = last, [], 0, None

    def announce(self, stage):
        pass

    def start(self, stage, total, done):
        self.started = (stage, total, done)

    def advance(self):
        self.steps += 1

    def note(self, text):
        self.notes.append(text)
        if len(self.notes) == self.last:
            raise Killed

    def done(self, stage, figures):
        pass
