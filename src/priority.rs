//! Priority of threads on a busy machine.

use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

use crate::config::Priority;

/// Low priority on the scale of 0 to 99, where 50 is the default: a nice value of 10 on Linux.
const LOW: u8 = 25;

#[derive(Debug, thiserror::Error)]
#[error("the system refuses a thread of low priority: {0:?}; set llm.priority to \"normal\"")]
pub struct PriorityError(thread_priority::Error);

/// Gives the calling thread this priority for the rest of its life: Linux lets no thread raise its
/// own again.
pub fn take(priority: Priority) -> Result<(), PriorityError> {
    match priority {
        Priority::Normal => Ok(()),
        Priority::Low => {
            let low = ThreadPriorityValue::try_from(LOW).map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
            set_current_thread_priority(low).map_err(PriorityError)
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    /// Nice value of this thread: the nineteenth field, seventeen after the name (proc(5)).
    fn nice() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn a_low_thread_is_lower_and_the_others_are_not() {
        let ours = nice();
        let after = |priority| std::thread::spawn(move || (take(priority).unwrap(), nice()).1).join().unwrap();
        assert_eq!(after(Priority::Normal), ours);
        assert!(after(Priority::Low) > ours || ours >= 10, "{ours}");
        assert_eq!(nice(), ours);
    }
}
