//! What calls of a statement leave with the session ([`crate::plan::kept`]), with their arguments put in.

use std::sync::Arc;

use crate::plan::kept::{Argument, Locking, SettingCall};
use crate::plan::{Kept, Memory};
use crate::quote::quote_literal;
use crate::wire::cursor::Cursor;
use crate::wire::{Malformed, frontend};

/// An advisory lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lock {
    pub key: Key,
    pub shared: bool,
}

/// Keys of one number and of two never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    One(i64),
    Two(i32, i32),
}

/// What a statement does with locks of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locks {
    Known(Vec<Call>),
    Some,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where its answer stands in the row.
    pub column: usize,
    pub does: Locking,
    /// `None`: an argument is NULL, and nothing is done.
    pub lock: Option<Lock>,
}

/// Parameters as in Parse and Bind.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    pub types: &'a [u32],
    pub parameters: &'a [u8],
}

impl Given<'static> {
    pub const NOTHING: Self = Self { types: &[], parameters: frontend::NO_PARAMETERS };
}

/// An argument's value, which is not known: it is given by other means, or in a way that is not understood.
struct Unknown;

impl From<Malformed> for Unknown {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// src/include/catalog/pg_type.dat; 0 leaves the type to the server, which gives it that of the argument.
const INTEGERS: [u32; 4] = [0, 20, 21, 23];
const TEXTS: [u32; 3] = [0, 25, 1043];

impl Given<'_> {
    /// Its bytes, and whether they are binary; `None`: NULL.
    fn raw(&self, number: usize, types: &[u32]) -> Result<Option<(&[u8], bool)>, Unknown> {
        let place = number.checked_sub(1).ok_or(Unknown)?;
        if !types.contains(self.types.get(place).unwrap_or(&0)) {
            return Err(Unknown);
        }
        let mut cursor = Cursor::new(self.parameters);
        let formats: Vec<i16> = (0..cursor.count()?).map(|_| cursor.i16()).collect::<Result<_, _>>()?;
        let binary = match formats[..] {
            [] => false,
            [one] => one == 1,
            _ => *formats.get(place).ok_or(Unknown)? == 1,
        };
        let mut found = Err(Unknown);
        for at in 0..cursor.count()? {
            let value = cursor.value()?;
            if at == place {
                found = Ok(value.map(|value| (value, binary)));
            }
        }
        found
    }

    fn text(&self, argument: &Argument) -> Result<Option<String>, Unknown> {
        match argument {
            Argument::Literal(text) => Ok(text.clone()),
            Argument::Parameter(number) => match self.raw(*number, &TEXTS)? {
                Some((bytes, _)) => std::str::from_utf8(bytes).map(|text| Some(text.to_owned())).map_err(|_| Unknown),
                None => Ok(None),
            },
        }
    }

    fn integer(&self, argument: &Argument) -> Result<Option<i64>, Unknown> {
        let read = |text: &str| text.trim_ascii().parse().map_err(|_| Unknown);
        match argument {
            Argument::Literal(text) => text.as_deref().map(read).transpose(),
            Argument::Parameter(number) => match self.raw(*number, &INTEGERS)? {
                Some((bytes, false)) => read(std::str::from_utf8(bytes).map_err(|_| Unknown)?).map(Some),
                Some((bytes, true)) => binary(bytes).map(Some),
                None => Ok(None),
            },
        }
    }

    fn lock(&self, key: &[Argument], shared: bool) -> Result<Option<Lock>, Unknown> {
        let numbers: Option<Vec<i64>> = key.iter().map(|argument| self.integer(argument)).collect::<Result<_, _>>()?;
        let half = |number: i64| i32::try_from(number).map_err(|_| Unknown);
        let key = match numbers.as_deref() {
            None => return Ok(None),
            Some([key]) => Key::One(*key),
            Some([first, second]) => Key::Two(half(*first)?, half(*second)?),
            Some(_) => return Err(Unknown),
        };
        Ok(Some(Lock { key, shared }))
    }
}

fn binary(bytes: &[u8]) -> Result<i64, Unknown> {
    if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        return Ok(i64::from_be_bytes(bytes));
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(i32::from_be_bytes(bytes).into());
    }
    <[u8; 2]>::try_from(bytes).map(|bytes| i16::from_be_bytes(bytes).into()).map_err(|_| Unknown)
}

impl Locks {
    /// `None`: it has nothing to do with locks, as far as is known.
    pub fn of(kept: &Kept, given: Given<'_>) -> Option<Self> {
        match kept {
            Kept::Settings(_) => None,
            Kept::SomeLocks => Some(Self::Some),
            Kept::Locks(calls) => {
                let known = calls.iter().map(|call| {
                    let lock = match call.does {
                        Locking::LetsAllGo => None,
                        _ => given.lock(&call.key, call.shared)?,
                    };
                    Ok(Call { column: call.column, does: call.does, lock })
                });
                Some(known.collect::<Result<_, Unknown>>().map_or(Self::Some, Self::Known))
            }
        }
    }
}

/// The settings that outlive the transaction, each with the statement that makes it. What is not known is left out.
pub fn settings(kept: &Kept, given: Given<'_>) -> Option<(Memory, Arc<str>)> {
    let Kept::Settings(calls) = kept else { return None };
    let each: Vec<(Memory, String)> =
        calls.iter().filter(|call| !call.local).filter_map(|call| remembered(call, given)).collect();
    (!each.is_empty()).then(|| (Memory::Each(each), "".into()))
}

/// NULL stands for the default.
fn remembered(call: &SettingCall, given: Given<'_>) -> Option<(Memory, String)> {
    let name = call.name.clone();
    let Some(value) = given.text(&call.value).ok()? else { return Some((Memory::Reset { name }, String::new())) };
    let sql = format!("SELECT pg_catalog.set_config({}, {}, false)", quote_literal(&name), quote_literal(&value));
    Some((Memory::Set { name }, sql))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::plan::kept::LockCall;

    fn parameters(formats: &[i16], values: &[Option<&[u8]>]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u16(formats.len() as u16);
        formats.iter().for_each(|format| out.put_i16(*format));
        out.put_u16(values.len() as u16);
        for value in values {
            match value {
                Some(value) => {
                    out.put_u32(value.len() as u32);
                    out.put_slice(value);
                }
                None => out.put_i32(-1),
            }
        }
        out
    }

    fn takes(key: &[Argument]) -> Kept {
        let call = LockCall { column: 0, does: Locking::Takes, shared: false, key: key.to_vec() };
        Kept::Locks([call].into())
    }

    fn locked(kept: &Kept, types: &[u32], parameters: &[u8]) -> Option<Option<Key>> {
        match Locks::of(kept, Given { types, parameters }) {
            Some(Locks::Known(calls)) => Some(calls[0].lock.map(|lock| lock.key)),
            _ => None,
        }
    }

    #[test]
    fn keys_are_read_from_literals_and_from_parameters_of_either_format() {
        let literal = |text: &str| Argument::Literal(Some(text.into()));
        let (one, two) = (takes(&[Argument::Parameter(1)]), takes(&[Argument::Parameter(2), literal("-7")]));
        assert_eq!(
            locked(&takes(&[literal("72707369")]), &[], frontend::NO_PARAMETERS),
            Some(Some(Key::One(72_707_369)))
        );
        assert_eq!(locked(&one, &[], &parameters(&[], &[Some(b" 12 ")])), Some(Some(Key::One(12))));
        assert_eq!(locked(&one, &[23], &parameters(&[1], &[Some(&(-3i32).to_be_bytes())])), Some(Some(Key::One(-3))));
        assert_eq!(locked(&one, &[0], &parameters(&[1], &[Some(&5i64.to_be_bytes())])), Some(Some(Key::One(5))));
        let both = parameters(&[0, 1], &[Some(b"9"), Some(&8i32.to_be_bytes())]);
        assert_eq!(locked(&two, &[], &both), Some(Some(Key::Two(8, -7))));
        assert_eq!(locked(&one, &[], &parameters(&[], &[None])), Some(None), "NULL locks nothing");
    }

    #[test]
    fn what_is_not_understood_is_not_known() {
        let one = takes(&[Argument::Parameter(1)]);
        assert_eq!(locked(&one, &[], frontend::NO_PARAMETERS), None, "EXECUTE gives it by other means");
        assert_eq!(locked(&one, &[701], &parameters(&[1], &[Some(&5f64.to_be_bytes())])), None);
        assert_eq!(locked(&one, &[], &parameters(&[], &[Some(b"0x10")])), None);
    }

    #[test]
    fn settings_of_the_session_are_remembered_with_their_values_and_those_of_a_transaction_are_not() {
        let call = |name: &str, value, local| SettingCall { name: name.into(), value, local };
        let calls = [
            call("app.tenant", Argument::Parameter(1), false),
            call("app.user", Argument::Parameter(2), false),
            call("app.now", Argument::Parameter(1), true),
        ];
        let given = parameters(&[1], &[Some(b"o'neill"), None]);
        let found = settings(&Kept::Settings(calls.into()), Given { types: &[25], parameters: &given });
        let expected = Memory::Each(vec![
            (
                Memory::Set { name: "app.tenant".into() },
                "SELECT pg_catalog.set_config('app.tenant', 'o''neill', false)".into(),
            ),
            (Memory::Reset { name: "app.user".into() }, String::new()),
        ]);
        assert_eq!(found, Some((expected, "".into())));
    }
}
