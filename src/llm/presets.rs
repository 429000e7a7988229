//! Options of one answer: randomness and length; and tested presets of them.

use std::ops::RangeInclusive;

use super::template::Thinking;
use crate::config::Sampling;

/// The options of one answer. [`SamplingOptions::default`] has the values that the documents of the
/// Swift package `Qwen3Chat` name.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Sampling temperature; 0 always takes the most probable token.
    pub temperature: f32,
    /// Samples from this many of the most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Samples from the most probable tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Samples from tokens at least this fraction as probable as the best; 0 keeps all.
    pub min_p: f32,
    /// Divides (positive) or multiplies (negative) the logits of recent tokens of the answer; 1
    /// changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted once from the logit of each token of this answer; 0 changes nothing.
    pub presence_penalty: f32,
    /// Most tokens of the answer, thoughts included.
    pub max_tokens: usize,
    /// Answers without thinking first.
    pub disable_thinking: bool,
    /// Largest number of tokens of thoughts; then the thought is closed and the model answers.
    pub max_thinking_tokens: usize,
    /// Random seed; `None` draws a new one.
    pub seed: Option<u64>,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        SamplingOptions {
            temperature: 0.6,
            top_k: 50,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.1,
            presence_penalty: 0.0,
            max_tokens: 512,
            disable_thinking: false,
            max_thinking_tokens: 100,
            seed: None,
        }
    }
}

/// An option out of its range.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}; choose a value from {low} to {high}")]
pub struct OptionError {
    pub name: &'static str,
    pub value: f32,
    pub low: f32,
    pub high: f32,
}

impl SamplingOptions {
    /// Checks that every value is in the range that `pipeline.toml` allows.
    pub fn check(&self) -> Result<(), OptionError> {
        let ranges: [(&str, f32, RangeInclusive<f32>); 5] = [
            ("temperature", self.temperature, 0.0..=2.0),
            ("top_p", self.top_p, 0.0..=1.0),
            ("min_p", self.min_p, 0.0..=1.0),
            ("repetition_penalty", self.repetition_penalty, 1.0..=2.0),
            ("presence_penalty", self.presence_penalty, -2.0..=2.0),
        ];
        match ranges.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((name, value, range)) => Err(OptionError { name, value, low: *range.start(), high: *range.end() }),
            None => Ok(()),
        }
    }

    /// Takes the options of a plan, with everything else at its default.
    pub fn of(sampling: &Sampling) -> Self {
        SamplingOptions {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            presence_penalty: sampling.presence_penalty,
            seed: sampling.seed,
            ..Self::default()
        }
    }

    /// Returns the options that the [`Sampler`](super::Sampler) needs.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
        }
    }

    pub fn thinking(&self) -> Thinking {
        if self.disable_thinking { Thinking::Off } else { Thinking::On }
    }
}

/// Named sets of options. They differ in sampling and thinking. Lengths stay at their defaults,
/// because the 32,768 tokens that the model cards suggest exceed a small memory and are too long
/// for speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The defaults.
    Default,
    /// Text without thinking, by the model cards of Qwen3.5 0.8B and 2B.
    Text,
    /// Text with thinking, by the same cards.
    Thinking,
    /// Exact tasks such as code, with thinking, by the same cards.
    Precise,
    /// Text without thinking, by the cards of 4B and 9B.
    Instruct,
    /// Tool calls. At the card's temperature of 1 the 0.8B breaks the format of its calls; others
    /// report 0 to 0.3.
    Tools,
}

impl Preset {
    pub const ALL: [Preset; 6] =
        [Preset::Default, Preset::Text, Preset::Thinking, Preset::Precise, Preset::Instruct, Preset::Tools];

    pub fn name(self) -> &'static str {
        match self {
            Preset::Default => "default",
            Preset::Text => "text",
            Preset::Thinking => "thinking",
            Preset::Precise => "precise",
            Preset::Instruct => "instruct",
            Preset::Tools => "tools",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    pub fn options(self) -> SamplingOptions {
        let (temperature, top_p, presence_penalty, thinks) = match self {
            Preset::Default => return SamplingOptions::default(),
            Preset::Text => (1.0, 1.0, 2.0, false),
            Preset::Thinking => (1.0, 0.95, 1.5, true),
            Preset::Precise => (0.6, 0.95, 0.0, true),
            Preset::Instruct => (0.7, 0.8, 1.5, false),
            Preset::Tools => (0.3, 0.95, 0.0, false),
        };
        SamplingOptions {
            temperature,
            top_k: 20,
            top_p,
            repetition_penalty: 1.0,
            presence_penalty,
            disable_thinking: !thinks,
            ..SamplingOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name_and_are_valid() {
        for preset in Preset::ALL {
            assert_eq!(Preset::named(preset.name()), Some(preset));
            assert_eq!(preset.options().check(), Ok(()));
            // The model cards say never greedy while thinking: the model then repeats itself
            // without end.
            assert!(preset.options().temperature > 0.0 || preset.options().thinking() == Thinking::Off);
        }
        assert_eq!(Preset::named("Default"), None);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let good = SamplingOptions::default;
        let cases = [
            ("temperature", SamplingOptions { temperature: f32::NAN, ..good() }),
            ("temperature", SamplingOptions { temperature: -0.1, ..good() }),
            ("top_p", SamplingOptions { top_p: 1.1, ..good() }),
            ("min_p", SamplingOptions { min_p: -1.0, ..good() }),
            ("repetition_penalty", SamplingOptions { repetition_penalty: 0.0, ..good() }),
            ("presence_penalty", SamplingOptions { presence_penalty: f32::INFINITY, ..good() }),
        ];
        for (name, options) in cases {
            let refused = options.check().unwrap_err();
            assert!(refused.name == name && refused.to_string().contains(name), "{refused}");
        }
    }

    #[test]
    fn the_sampler_gets_what_was_asked_for() {
        let options = SamplingOptions { seed: Some(7), min_p: 0.1, ..Preset::Text.options() };
        let wanted = Sampling {
            temperature: 1.0,
            top_k: 20,
            top_p: 1.0,
            min_p: 0.1,
            repetition_penalty: 1.0,
            presence_penalty: 2.0,
            seed: Some(7),
        };
        assert_eq!((options.sampling(), options.thinking()), (wanted, Thinking::Off));
    }
}
