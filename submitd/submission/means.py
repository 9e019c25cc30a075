"""What all submissions use."""

from collections.abc import Callable

import attrs

from submitd.interfaces import IQueueStore, ISenderPolicy, IUserDatabase, QueuedMessage, Site
from submitd.message.authors import FromMismatch
from submitd.message.completion import CompletionOptions


@attrs.frozen(kw_only=True)
class Means:
    """What all submissions use.

    :ivar site: our name, the clock.
    :ivar users: checks logins.
    :ivar senders: says who may send as whom.
    :ivar store: takes messages in.
    :ivar queued: is told of each message once it is stored, to deliver it.
    :ivar refusal_delay_s: seconds to hold back a refused login of an address; counts it.
    :ivar login_accepted: is told of an address whose login was good.
    :ivar completion: `[completion]`.
    :ivar from_mismatch: what to do with a From the login may not use.
    :ivar message_size_bytes: the largest message of a login, in octets.
    :ivar header_size_bytes: largest header block.
    :ivar future_release_s: how long a message may be held (RFC 4865).
    :ivar highest_priority: the most a client may ask for (RFC 6710).
    """

    site: Site
    users: IUserDatabase
    senders: ISenderPolicy
    store: IQueueStore
    queued: Callable[[QueuedMessage], None]
    refusal_delay_s: Callable[[str], float]
    login_accepted: Callable[[str], None]
    completion: CompletionOptions
    from_mismatch: FromMismatch
    message_size_bytes: Callable[[str], int]
    header_size_bytes: int
    future_release_s: int
    highest_priority: int
