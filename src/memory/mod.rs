//! Memory budget. Code that loads a model asks first, with the bytes that it plans to hold, and
//! gives them back by `Drop`.
//!
//! Architecture invariant: no model is loaded without a [`Permit`]; the constructors require one.
//! Eviction, phases and memory pressure do *not* exist yet: they will decide which model to unload,
//! and requests will stay as they are.

mod measure;
mod release;

pub use measure::{mappable, peak_resident, resident};
pub use release::give_back_freed;

use std::sync::{Arc, Mutex};

use crate::types::Bytes;

/// Ceiling on the memory of all models together. Clones share one ledger.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<Ledger>>);

#[derive(Debug)]
struct Ledger {
    limit: Bytes,
    held: Vec<Holding>,
    next_id: u64,
}

#[derive(Debug)]
struct Holding {
    id: u64,
    what: String,
    bytes: Bytes,
}

/// Right to hold so many bytes; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    id: u64,
    bytes: Bytes,
}

/// Request that did not fit. The program ends with exit code 5 on this error.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "{what} needs {wanted}, but only {free} of the {limit} memory budget is free (held: {holders}); \
     a budget of {enough} would do: set [memory] budget or --budget, or choose a smaller model"
)]
pub struct OverBudget {
    pub what: String,
    pub wanted: Bytes,
    pub free: Bytes,
    pub limit: Bytes,
    /// Smallest budget, in whole MiB, that would grant this request on top of what is held.
    pub enough: Bytes,
    pub holders: String,
}

/// Request beyond the system's limit for this process (`ulimit -v`).
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "out of memory: {what} needs {wanted}, but the system lets this process have {room} more; raise the limit (ulimit -v) \
     or choose a smaller model"
)]
pub struct NoMemory {
    pub what: String,
    pub wanted: Bytes,
    pub room: Bytes,
}

/// Checks that the system would give this process so many more bytes. Succeeds where the system
/// does not report its limit.
pub fn check_room(what: &str, wanted: Bytes) -> Result<(), NoMemory> {
    match mappable() {
        Some(room) if room < wanted => Err(NoMemory { what: what.to_owned(), wanted, room }),
        _ => Ok(()),
    }
}

impl Budget {
    pub fn new(limit: Bytes) -> Self {
        Budget(Arc::new(Mutex::new(Ledger { limit, held: Vec::new(), next_id: 0 })))
    }

    /// Reserves `bytes` for `what`.
    pub fn reserve(&self, what: &str, bytes: Bytes) -> Result<Permit, OverBudget> {
        let mut ledger = self.lock();
        let used = ledger.used();
        let total = used.0.saturating_add(bytes.0);
        if total > ledger.limit.0 {
            return Err(OverBudget {
                what: what.to_owned(),
                wanted: bytes,
                free: Bytes(ledger.limit.0.saturating_sub(used.0)),
                limit: ledger.limit,
                enough: Bytes(total.div_ceil(Bytes::MIB).saturating_mul(Bytes::MIB)),
                holders: ledger.holders(),
            });
        }
        let id = ledger.next_id;
        ledger.next_id += 1;
        ledger.held.push(Holding { id, what: what.to_owned(), bytes });
        drop(ledger);
        Ok(Permit { budget: self.clone(), id, bytes })
    }

    pub fn limit(&self) -> Bytes {
        self.lock().limit
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        // The ledger is consistent after every statement, so a panic of a holder leaves it
        // complete.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Ledger {
    fn used(&self) -> Bytes {
        Bytes(self.held.iter().map(|holding| holding.bytes.0).sum())
    }

    fn holders(&self) -> String {
        if self.held.is_empty() {
            return "nothing".to_owned();
        }
        let each: Vec<_> = self.held.iter().map(|h| format!("{} {}", h.what, h.bytes)).collect();
        each.join(", ")
    }
}

impl Permit {
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.lock().held.retain(|holding| holding.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_granted_and_given_back_on_drop() {
        let budget = Budget::new(Bytes(100));
        let whisper = budget.reserve("whisper", Bytes(60)).unwrap();
        let refused = budget.reserve("llm", Bytes(50)).unwrap_err();
        assert_eq!((refused.free, refused.limit), (Bytes(40), Bytes(100)));
        assert_eq!(refused.enough, Bytes::mib(1));
        assert!(refused.to_string().contains("whisper 60 bytes"), "{refused}");
        drop(whisper);
        assert_eq!(budget.reserve("llm", Bytes(100)).unwrap().bytes(), Bytes(100));
        assert!(budget.lock().held.is_empty());
    }

    #[test]
    fn an_absurd_request_is_refused_without_overflow() {
        let budget = Budget::new(Bytes(100));
        let _held = budget.reserve("a", Bytes(1)).unwrap();
        assert!(budget.reserve("b", Bytes(u64::MAX)).is_err());
    }

    #[test]
    fn permits_of_the_same_name_are_told_apart() {
        let budget = Budget::new(Bytes(100));
        let first = budget.reserve("llm", Bytes(30)).unwrap();
        let _second = budget.reserve("llm", Bytes(30)).unwrap();
        drop(first);
        assert_eq!(budget.lock().used(), Bytes(30));
    }
}
