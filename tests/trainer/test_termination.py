import os
import signal

from trainer.termination import watch_sigterm


def test_sigterm_is_a_flag() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        terminated = watch_sigterm()
        assert not terminated()
        os.kill(os.getpid(), signal.SIGTERM)
        assert terminated()
    finally:
        signal.signal(signal.SIGTERM, before)
