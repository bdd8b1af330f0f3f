"""Recording in other people's trainers: callbacks that drive a `Recorder`.

Nothing is imported here: each module needs the framework that it is for.
"""
