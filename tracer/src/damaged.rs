//! For tests with bad input: copies of real things that were damaged on the way. Such a copy comes
//! further than noise does.

use proptest::{collection::vec, prelude::*, sample::Index};

/// Most bytes of a damaged copy.
const MOST: usize = 64 * 1024;
/// Most bytes of a part that is repeated.
const MOST_REPEATED: usize = 256;

/// Something that happens to bytes.
#[derive(Clone, Debug)]
enum Damage {
    /// A byte becomes another.
    Flip(Index, u8),
    /// What is between the two is lost.
    Cut(Index, Index),
    /// All behind it is lost.
    End(Index),
    /// Something comes in.
    Insert(Index, Vec<u8>),
    /// A part comes so many times more.
    Repeat(Index, Index, u8),
    /// A part of another one comes in.
    Splice(Index, Index, Index, Index),
}

impl Damage {
    fn to(self, bytes: &mut Vec<u8>, real: &[Vec<u8>]) {
        let at = |index: Index, bytes: &[u8]| index.index(bytes.len() + 1);
        let part = |one: Index, other: Index, bytes: &[u8]| {
            let (one, other) = (at(one, bytes), at(other, bytes));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Flip(index, bits) if !bytes.is_empty() => {
                let place = index.index(bytes.len());
                bytes[place] ^= bits;
            }
            Self::Flip(..) => {}
            Self::Cut(one, other) => drop(bytes.drain(part(one, other, bytes))),
            Self::End(index) => bytes.truncate(at(index, bytes)),
            Self::Insert(index, more) => {
                let place = at(index, bytes);
                bytes.splice(place..place, more);
            }
            Self::Repeat(one, other, times) => {
                let part = part(one, other, bytes);
                let end = part.end.min(part.start + MOST_REPEATED);
                let more = bytes[part.start..end].repeat(times.into());
                bytes.splice(end..end, more);
            }
            Self::Splice(index, other, from, to) => {
                let other = other.get(real);
                let place = at(index, bytes);
                bytes.splice(place..place, other[part(from, to, other)].to_vec());
            }
        }
        bytes.truncate(MOST);
    }
}

fn damage(words: &'static [&'static str]) -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let noise = vec(any::<u8>(), 1..9);
    // Without words it is noise alone.
    let word = any::<Index>().prop_map(|one| match words.len() {
        0 => vec![0],
        number => words[one.index(number)].as_bytes().to_vec(),
    });
    prop_oneof![
        4 => (index(), 1u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        2 => (index(), index()).prop_map(|(one, other)| Damage::Cut(one, other)),
        1 => index().prop_map(Damage::End),
        2 => (index(), noise).prop_map(|(at, more)| Damage::Insert(at, more)),
        4 => (index(), word).prop_map(|(at, more)| Damage::Insert(at, more)),
        2 => (index(), index(), any::<u8>())
            .prop_map(|(one, other, times)| Damage::Repeat(one, other, times)),
        2 => (index(), index(), index(), index())
            .prop_map(|(at, other, from, to)| Damage::Splice(at, other, from, to)),
    ]
}

/// One of these, damaged in up to six places, also with these words; or now and then noise.
pub(crate) fn damaged(
    real: Vec<Vec<u8>>,
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let copy = (any::<Index>(), vec(damage(words), 0..7)).prop_map(move |(one, damages)| {
        let mut bytes = one.get(&real).clone();
        for damage in damages {
            damage.to(&mut bytes, &real);
        }
        bytes
    });
    prop_oneof![9 => copy, 1 => vec(any::<u8>(), 0..300)]
}
