"""What submitd offers to Twisted: `twistd submitd`, and the built-in backends."""

from twisted.application.service import ServiceMaker

from submitd.interfaces import IQueueStoreFactory, IRelayBackendFactory, IUserDatabaseFactory
from submitd.plugins import LazyFactory

submitd = ServiceMaker(  # type: ignore[no-untyped-call]
    "submitd", "submitd.tap", "Mail submission server (RFC 6409)", "submitd"
)

htpasswd = LazyFactory(IUserDatabaseFactory, "htpasswd", "submitd.auth.htpasswd:HtpasswdFactory")

sqlite = LazyFactory(IQueueStoreFactory, "sqlite", "submitd.queue.sqlite:SqliteFactory")

smarthost = LazyFactory(
    IRelayBackendFactory, "smarthost", "submitd.relay.smarthost:SmarthostFactory"
)
maildir = LazyFactory(IRelayBackendFactory, "maildir", "submitd.relay.maildir:MaildirFactory")
discard = LazyFactory(IRelayBackendFactory, "discard", "submitd.relay.discard:DiscardFactory")
