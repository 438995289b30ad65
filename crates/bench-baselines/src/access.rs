//! Which tenant comes next: Zipf's law with the exponent 1, so that of 100,000 tenants the first has a twelfth of all
//! requests. Pure.

/// Drawn before the clock starts, then gone round.
const DRAWN: usize = 1 << 18;

/// So many numbers below `tenants`. The same ones in each run.
pub(crate) fn draw(tenants: u32) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=tenants)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    let mut state = 1_u64;
    let one = |_| {
        // A linear congruential generator; its high bits are good enough to draw from.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = u32::try_from(state >> 32).unwrap_or_default();
        let drawn = f64::from(high) / f64::from(u32::MAX) * sum;
        let tenant = sums.partition_point(|sum| *sum < drawn);
        u32::try_from(tenant).unwrap_or_default().min(tenants.saturating_sub(1))
    };
    (0..DRAWN).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_tenant_comes_half_as_often_as_the_first_and_the_last_ones_come_too() {
        let drawn = draw(1_000);
        let times = |tenant| drawn.iter().filter(|drawn| **drawn == tenant).count();
        let (first, second) = (times(0), times(1));
        assert!((1.9..2.1).contains(&(first as f64 / second as f64)), "{first} {second}");
        assert!((900..1_000).any(|tenant| times(tenant) > 0));
        assert!(drawn.iter().all(|tenant| *tenant < 1_000));
    }

    #[test]
    fn a_single_tenant_is_always_drawn() {
        assert!(draw(1).iter().all(|tenant| *tenant == 0));
    }
}
