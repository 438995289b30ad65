//! CPU use over the last sample period, from a total that only grows.

use tenantry_types::UnixMillis;

/// CPU use of one tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuUse {
    last: Option<(UnixMillis, u64)>,
    millicores: u64,
}

impl CpuUse {
    /// Takes the total of CPU time so far, in microseconds. A smaller total than before is one that began anew.
    pub(crate) fn sample(&mut self, at: UnixMillis, total_micros: u64) {
        if let Some((then, before)) = self.last {
            let millis = at.0.saturating_sub(then.0);
            if millis == 0 {
                return;
            }
            let micros = total_micros.checked_sub(before).unwrap_or(total_micros);
            // Microseconds per millisecond are thousandths of a core.
            self.millicores = micros / millis;
        }
        self.last = Some((at, total_micros));
    }

    /// Thousandths of one core over the last period; zero before there were two samples.
    pub(crate) const fn millicores(&self) -> u64 {
        self.millicores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_the_growth_of_the_total_over_the_period() {
        let mut cpu = CpuUse::default();
        let cases = [
            // at ms, total in microseconds, millicores
            (0, 500, 0),
            (10_000, 5_000_500, 500),
            (10_000, 9_000_000, 500),
            (20_000, 5_000_500, 0),
            // The database was closed and opened again.
            (30_000, 10_000_000, 499),
            (40_000, 100_000, 10),
            (39_000, 900_000, 10),
        ];
        for (step, (at, total, millicores)) in cases.into_iter().enumerate() {
            cpu.sample(UnixMillis(at), total);
            assert_eq!(cpu.millicores(), millicores, "step {step}");
        }
    }
}
