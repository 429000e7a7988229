//! Weights of turn taking beside the models that they were fitted to.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::catalogue_error::CatalogueError;
use super::name::BlobName;
use crate::turn::TurnWeights;

/// The largest of a weight's numbers that makes sense, either way: log-odds are bounded at 6.
const MOST: f32 = 100.0;

/// Names the models whose probabilities are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurnModels<'a> {
    /// The end-of-turn model, where there is one.
    pub end_of_turn: Option<&'a str>,
    pub asr: &'a str,
    pub llm: &'a str,
}

/// Weights and the models they were fitted to.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Fit {
    end_of_turn: Option<BlobName>,
    asr: BlobName,
    llm: BlobName,
    weights: TurnWeights,
}

/// A table of weights by models.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct TurnWeightsTable(Vec<Fit>);

impl TurnWeightsTable {
    /// Reads a text of the catalogue's form that holds nothing else: what `benches/fit_turn.py`
    /// writes.
    pub fn parse(text: &str) -> Result<TurnWeightsTable, CatalogueError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            turn_weights: TurnWeightsTable,
        }
        let File { turn_weights } = toml::from_str(text)?;
        turn_weights.check()?;
        Ok(turn_weights)
    }

    /// The weights for these models, if some were fitted.
    pub fn find(&self, models: TurnModels) -> Option<TurnWeights> {
        self.0.iter().find(|fit| fit.models() == models).map(|fit| fit.weights)
    }

    /// The models of every fit.
    pub(super) fn models(&self) -> impl Iterator<Item = &BlobName> {
        self.0.iter().flat_map(|fit| [Some(&fit.asr), Some(&fit.llm), fit.end_of_turn.as_ref()]).flatten()
    }

    pub(super) fn check(&self) -> Result<(), CatalogueError> {
        let mut seen = BTreeSet::new();
        for fit in &self.0 {
            let TurnWeights { voice, words, written, bias } = fit.weights;
            let numbers = [voice, words, written].into_iter().flat_map(|weight| [weight.factor, weight.missing]);
            let why = match numbers.chain([bias]).find(|number| !(-MOST..=MOST).contains(number)) {
                Some(odd) => format!("a weight of {odd} is not within -{MOST}..={MOST}"),
                None if !seen.insert((&fit.end_of_turn, &fit.asr, &fit.llm)) => {
                    "its weights are listed twice".to_owned()
                }
                None => continue,
            };
            return Err(CatalogueError::CatalogueEntry { model: format!("turn_weights for {}", fit.models()), why });
        }
        Ok(())
    }
}

impl Fit {
    fn models(&self) -> TurnModels<'_> {
        TurnModels {
            end_of_turn: self.end_of_turn.as_ref().map(BlobName::as_str),
            asr: self.asr.as_str(),
            llm: self.llm.as_str(),
        }
    }
}

impl std::fmt::Display for TurnModels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TurnModels { end_of_turn, asr, llm } = self;
        match end_of_turn {
            Some(end_of_turn) => write!(f, "{end_of_turn}, {asr} and {llm}"),
            None => write!(f, "{asr} and {llm}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: &str = r#"
[[turn_weights]]
end_of_turn = "judge"
asr = "ears"
llm = "brain"
weights = { bias = -1.0, voice = { factor = 0.5, missing = 1.0 }, words = { factor = 0.25, missing = -2.0 }, written = { factor = 0.75, missing = 0.0 } }
"#;

    #[test]
    fn weights_are_found_for_their_models_alone() {
        let table = TurnWeightsTable::parse(FIT).unwrap();
        let models = TurnModels { end_of_turn: Some("judge"), asr: "ears", llm: "brain" };
        let found = table.find(models).unwrap();
        assert_eq!((found.bias, found.words.missing), (-1.0, -2.0));
        for other in [
            TurnModels { end_of_turn: None, ..models },
            TurnModels { asr: "other", ..models },
            TurnModels { llm: "./brain", ..models },
        ] {
            assert_eq!(table.find(other), None, "{other}");
        }
        let without = TurnWeightsTable::parse(&FIT.replace("end_of_turn = \"judge\"\n", "")).unwrap();
        assert!(without.find(TurnModels { end_of_turn: None, ..models }).is_some());
        assert_eq!(without.find(models), None);
    }

    #[test]
    fn flawed_weights_are_refused_and_named() {
        for (from, to) in [
            ("bias = -1.0", "bias = nan"),
            ("factor = 0.5", "factor = 1e9"),
            ("factor = 0.5", "factor = \"much\""),
            ("factor = 0.5", "slope = 0.5"),
            (", written = { factor = 0.75, missing = 0.0 }", ""),
            ("llm = \"brain\"\n", ""),
        ] {
            assert!(FIT.contains(from), "{from}");
            assert!(TurnWeightsTable::parse(&FIT.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
        let twice = TurnWeightsTable::parse(&FIT.repeat(2)).unwrap_err().to_string();
        assert!(twice.contains("judge, ears and brain") && twice.contains("twice"), "{twice}");
    }
}
