"""What stands behind a session: who it is, what it may send, and the way into the queue."""

from submitd.submission.means import Means
from submitd.submission.session import Submission, SubmissionFactory

__all__ = ["Means", "Submission", "SubmissionFactory"]
