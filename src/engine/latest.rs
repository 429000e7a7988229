//! Queue with one slot, in which a newer job replaces an older one. The sender never waits.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

pub struct Latest<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

/// Creates the two ends of the queue. The receiver is an ordinary channel, which is closed when the
/// [`Latest`] is dropped.
pub fn latest<T>() -> (Latest<T>, Receiver<T>) {
    let (sender, receiver) = bounded(1);
    (Latest { sender, receiver: receiver.clone() }, receiver)
}

impl<T> Latest<T> {
    /// Puts `job` in the slot and drops a job that was waiting there.
    pub fn put(&self, job: T) {
        let mut job = job;
        while let Err(TrySendError::Full(refused)) = self.sender.try_send(job) {
            let _replaced = self.receiver.try_recv();
            job = refused;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_job_replaces_the_older() {
        let (jobs, receiver) = latest();
        jobs.put(1);
        jobs.put(2);
        assert_eq!(receiver.recv(), Ok(2));
        jobs.put(3);
        drop(jobs);
        assert_eq!(receiver.recv(), Ok(3));
        assert!(receiver.recv().is_err());
    }
}
