//! Samples, and figures that stand beside their baseline.

use std::time::Duration;

/// Durations of the same thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) async fn of(count: usize, mut sample: impl AsyncFnMut() -> Duration) -> Samples {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            samples.push(sample().await);
        }
        Samples(samples)
    }

    /// The sample below which this share of them lies.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let position = ((sorted.len() as f64 - 1.0) * share).round() as usize;
        sorted.get(position).copied().unwrap_or_default()
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(samples: Vec<Duration>) -> Self {
        Samples(samples)
    }
}

/// One sample of a figure, or all of them once added up.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: &'static str,
    samples: Samples,
    baseline: &'static str,
    baseline_samples: Samples,
    damocles: &'static str,
}

impl Figure {
    /// A sample of a figure.
    pub(crate) fn new(
        name: &'static str,
        sample: Duration,
        baseline: &'static str,
        baseline_samples: &Samples,
    ) -> Figure {
        Figure::of(name, Samples(vec![sample]), baseline, baseline_samples)
    }

    /// A figure with all of its samples.
    pub(crate) fn of(
        name: &'static str,
        samples: Samples,
        baseline: &'static str,
        baseline_samples: &Samples,
    ) -> Figure {
        Figure {
            name,
            samples,
            baseline,
            baseline_samples: baseline_samples.clone(),
            damocles: "-",
        }
    }

    /// What damocles took for the same, as it was measured.
    pub(crate) fn damocles(self, damocles: &'static str) -> Figure {
        Figure { damocles, ..self }
    }
}

/// Adds a sample to the figure of its name.
pub(crate) fn add(figures: &mut Vec<Figure>, sample: Figure) {
    match figures.iter_mut().find(|figure| figure.name == sample.name) {
        Some(figure) => figure.samples.0.extend(sample.samples.0),
        None => figures.push(sample),
    }
}

pub(crate) fn table(figures: &[Figure]) -> String {
    let rows = figures.iter().map(|figure| {
        let (median, base) = (figure.samples.quantile(0.5), figure.baseline_samples.quantile(0.5));
        vec![
            figure.name.to_owned(),
            figure.samples.0.len().to_string(),
            millis(median),
            millis(figure.samples.quantile(0.95)),
            format!("{:.2}", median.as_secs_f64() / base.as_secs_f64()),
            format!("{} ({})", figure.baseline, millis(base)),
            figure.damocles.to_owned(),
        ]
    });
    damocles_terminal::table(
        &["Figure", "Samples", "Median", "95 %", "Ratio", "to baseline (median)", "damocles"],
        rows.collect(),
    )
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
