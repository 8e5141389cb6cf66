"""`python -m diptych` is `diptych`; `torchrun -m diptych` starts it as several ranks of one run."""

from diptych.cli.main import run

if __name__ == "__main__":
    run()
