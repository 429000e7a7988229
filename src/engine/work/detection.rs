//! Work of the voice activity and wake word detectors: a score for each stretch of a sound.
//!
//! A session waits for the score, because it counts time in such stretches. It waits no longer than
//! the stage's limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::detect::{FRAME, VadState, WAKE_STEP, WakeState};
use crate::engine::host::{AnyHost, FailureReport, Host, Job, Stage, StageContext};
use crate::engine::stage::{Result, VoiceActivityDetector, WakeWordDetector};
use crate::types::SessionId;

/// Interval at which a session that waits for a score looks whether the stage hangs.
const WATCH: Duration = Duration::from_millis(20);

/// Function that scores the next stretch of one sound.
pub(in crate::engine) type Scores<const N: usize> = Box<dyn FnMut(&[f32; N]) -> Result<f32>>;

/// Model that scores stretches of `N` samples, with a state for each sound.
pub(in crate::engine) trait Scorer<const N: usize> {
    type State: Clone + Default + Send + 'static;

    fn score(&mut self, state: &mut Self::State, samples: &[f32; N]) -> Result<f32>;
}

impl Scorer<FRAME> for Box<dyn VoiceActivityDetector> {
    type State = VadState;

    fn score(&mut self, state: &mut VadState, samples: &[f32; FRAME]) -> Result<f32> {
        self.step(state, samples)
    }
}

impl Scorer<WAKE_STEP> for Box<dyn WakeWordDetector> {
    type State = WakeState;

    fn score(&mut self, state: &mut WakeState, samples: &[f32; WAKE_STEP]) -> Result<f32> {
        self.step(state, samples)
    }
}

/// A stretch to score, with the state of its sound. The state comes back with the score.
pub(in crate::engine) struct DetectionJob<State, const N: usize> {
    session: SessionId,
    state: State,
    samples: Box<[f32; N]>,
    reply: Sender<(State, Result<f32>)>,
}

impl<State: Clone + Send + 'static, const N: usize> Job for DetectionJob<State, N> {
    fn session(&self) -> SessionId {
        self.session
    }

    fn replaces_waiting(&self) -> bool {
        true
    }

    fn is_current(&self) -> bool {
        true
    }

    fn failure_report(&self) -> FailureReport {
        let (state, reply) = (self.state.clone(), self.reply.clone());
        Box::new(move |error| {
            let _gone = reply.try_send((state, Err(error)));
        })
    }
}

pub(in crate::engine) struct DetectionStage<M, const N: usize>(pub M);

impl<M: Scorer<N>, const N: usize> Stage for DetectionStage<M, N> {
    type Job = DetectionJob<M::State, N>;

    fn start(&mut self, job: Self::Job, _: &StageContext) {
        let DetectionJob { mut state, samples, reply, .. } = job;
        let score = self.0.score(&mut state, &samples);
        let _gone = reply.try_send((state, score));
    }
}

/// Makes the function that scores the sound of `session`. It errors when the model fails, and when
/// there is no score within `limit`; the sound then goes on from the state before.
pub(in crate::engine) fn scores<M: Scorer<N> + 'static, const N: usize>(
    host: Arc<Host<DetectionStage<M, N>>>,
    session: SessionId,
    limit: Duration,
) -> Scores<N> {
    let mut state = M::State::default();
    Box::new(move |samples| {
        let (reply, answer) = bounded(1);
        host.submit(DetectionJob { session, state: state.clone(), samples: Box::new(*samples), reply });
        let deadline = Instant::now() + limit;
        loop {
            match answer.recv_timeout(WATCH) {
                Ok((next, score)) => {
                    state = next;
                    return score;
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => host.supervise(),
                Err(_) => bail!("the {} gave no score in {:.1} s", host.status().kind.title(), limit.as_secs_f64()),
            }
        }
    })
}
