//! What sockpick does itself, told from traffic: the connections of its self-check, of its
//! measuring and of its try of the lookup, all in network namespaces that it makes for them.
//!
//! Who watches hangs out a notice board, a map of the kernel's; who makes such a namespace finds
//! every board there is and writes on it which namespace, and from when to when, before the
//! first connection. So it does not matter when the watcher reads it, nor which version wrote
//! it. Only who has `CAP_SYS_ADMIN` over the host may open another's map, and could as well
//! change what the watcher's programs do: nobody else can have traffic left out. A name, a
//! program's file or a port could be chosen by anybody, and are gone with the process.

mod board;

pub use board::Board;
use board::Notice;
use log::debug;
use rustc_hash::FxHashSet;

use crate::clock::monotonic_ns;

/// For so long a notice is valid that nobody took back, because its sockpick was killed: another
/// namespace may get the number. Where the kernel tells cookies (5.14), only the cookie counts.
const LONGEST_NS: u64 = 30_000_000_000;
/// A notice is taken down so long after it ended: records come in order, but for a moment.
const KEPT_NS: u64 = 10_000_000_000;
/// The only interface of such a namespace.
const LOOPBACK: u32 = 1;

/// Says for as long as it lives that this thread's namespace is sockpick's own.
#[derive(Debug)]
pub struct Announced {
    notice: Notice,
    boards: Vec<Board>,
    /// One of its own, for who lists namespaces while nobody traces.
    _hung_out: Option<Board>,
}

impl Announced {
    /// Writes it on every board there is. To be called before anything is done in the namespace.
    /// Without the right to, others see what is done there as anybody's.
    #[must_use]
    pub fn here(netns: u32) -> Self {
        let hung_out = Board::hang_out().ok();
        let boards = board::all().unwrap_or_else(|error| {
            debug!("no other sockpick can be told of this one's namespace: {error}");
            Vec::new()
        });
        let from_ns = monotonic_ns();
        let notice = Notice::new(netns, cookie(), from_ns, from_ns + LONGEST_NS);
        for board in &boards {
            if let Err(error) = board.write(&notice) {
                debug!("a notice board does not take it: {error}");
            }
        }
        Self {
            notice,
            boards,
            _hung_out: hung_out,
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let ended = self.notice.until(monotonic_ns());
        for board in &self.boards {
            // In this order, so that there is one at any time. A board that goes is nobody's loss.
            let _ = board.write(&ended).and_then(|()| board.wipe(&self.notice));
        }
    }
}

/// The cookie of this thread's namespace; 0 where the kernel does not tell (before 5.14).
pub(crate) fn cookie() -> u64 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
    socket.map_or(0, |socket| board::netns_cookie(&socket).unwrap_or(0))
}

/// Namespaces that sockpicks have for themselves right now, for who lists all there are. Empty
/// where that cannot be told from what anybody may write: before Linux 5.0, and without
/// `CAP_SYS_ADMIN` over the host.
#[must_use]
pub fn announced() -> FxHashSet<u32> {
    let now_ns = monotonic_ns();
    let boards = board::all().unwrap_or_default();
    boards
        .iter()
        .filter(|board| board.is_trusted())
        .flat_map(Board::read)
        .filter(|notice| notice.from_ns <= now_ns && now_ns <= notice.until_ns)
        .map(|notice| notice.netns)
        .collect()
}

/// Recognises what is sockpick's own by what stands on the board.
#[derive(Debug, Default)]
pub struct Own {
    board: Option<Board>,
    /// Kernel time at which the board was read: what was announced by then is in `notices`.
    read_ns: u64,
    notices: Vec<Notice>,
}

impl Own {
    /// By this board, which must have hung out before anything was attached.
    #[must_use]
    pub fn by(board: Board) -> Self {
        Self {
            board: Some(board),
            ..Self::default()
        }
    }

    /// Whether what happened in the namespace at that time was a sockpick's doing. A cookie of
    /// 0 is none.
    pub fn did(&mut self, netns: u32, cookie: u64, ktime_ns: u64) -> bool {
        if ktime_ns > self.read_ns {
            self.read(ktime_ns);
        }
        let covers = |notice: &Notice| notice.covers(netns, cookie, ktime_ns);
        self.notices.iter().any(covers)
    }

    /// The same of a SYN that came by this interface: there is none but loopback.
    pub fn sent(&mut self, netns: u32, cookie: u64, ifindex: u32, ktime_ns: u64) -> bool {
        ifindex == LOOPBACK && self.did(netns, cookie, ktime_ns)
    }

    fn read(&mut self, ktime_ns: u64) {
        let Some(board) = &self.board else { return };
        self.read_ns = monotonic_ns();
        self.notices = board.read();
        let old = |notice: &Notice| notice.until_ns.saturating_add(KEPT_NS) < ktime_ns;
        self.notices
            .iter()
            .filter(|notice| old(notice))
            .for_each(|notice| {
                // One that stays is looked at in vain.
                let _ = board.wipe(notice);
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(notices: &[Notice]) -> Own {
        Own {
            board: None,
            read_ns: u64::MAX,
            notices: notices.to_vec(),
        }
    }

    #[test]
    fn a_namespace_is_own_while_it_was_announced() {
        let mut own = own(&[Notice::new(7, 0, 100, 200)]);
        for (netns, ktime_ns, expected) in [
            (7, 99, false),
            (7, 100, true),
            (7, 200, true),
            (7, 201, false),
            (8, 150, false),
        ] {
            assert_eq!(own.did(netns, 0, ktime_ns), expected, "{netns} {ktime_ns}");
            assert_eq!(own.did(netns, 5, ktime_ns), expected, "{netns} {ktime_ns}");
        }
        assert!(own.sent(7, 0, LOOPBACK, 150));
        assert!(!own.sent(7, 0, 2, 150), "there is no other interface");
    }

    #[test]
    fn a_notice_stands_on_every_board_for_as_long_as_it_is_true() {
        // An ordinary user may hang out none, or not find it.
        let (Ok(board), Ok(_)) = (Board::hang_out(), board::all()) else {
            return;
        };
        let mut own = Own::by(board);
        let before = monotonic_ns();
        let announced = Announced::here(7);
        let during = monotonic_ns();
        assert!(own.did(7, 0, during));
        assert!(super::announced().contains(&7));
        assert!(!own.did(8, 0, during));
        assert!(!own.did(7, 0, before - 1));
        drop(announced);
        let after = monotonic_ns() + 1;
        assert!(own.did(7, 0, during));
        assert!(!own.did(7, 0, after));
        // Taken down when nothing younger can come.
        assert!(!own.did(7, 0, after + 2 * KEPT_NS));
        own.read_ns = 0;
        assert!(!own.did(7, 0, during));
    }

    #[test]
    fn a_notice_that_was_taken_back_counts_no_longer() {
        // Its end was written and the first notice is not wiped yet.
        let mut own = own(&[Notice::new(7, 0, 100, 200), Notice::new(7, 0, 100, 150)]);
        assert!(own.did(7, 0, 150));
        assert!(own.did(7, 0, 151), "no moment without, until it is wiped");
    }

    #[test]
    fn a_cookie_tells_a_namespace_from_the_next_with_its_number() {
        let mut own = own(&[Notice::new(7, 31, 100, 200)]);
        assert!(own.did(7, 31, 150));
        assert!(own.did(7, 31, 900), "it is slow, but it is the same");
        assert!(!own.did(7, 32, 150));
        assert!(own.did(7, 0, 150), "not known of what happened");
        assert!(!own.did(7, 0, 201));
    }
}
