//! Unit and help of every series that the sampler publishes.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Gives them to the recorder in force.
pub(super) fn describe() {
    use Unit::{Bytes, Count, Seconds};
    let gauges = [
        ("tenantry_tenant_database_bytes", Bytes, "Bytes of the database file."),
        ("tenantry_tenant_wal_bytes", Bytes, "Bytes of the write-ahead log."),
        (
            "tenantry_tenant_free_bytes",
            Bytes,
            "Bytes of free pages inside the database file.",
        ),
        (
            "tenantry_tenant_memory_bytes",
            Bytes,
            "Bytes of SQLite memory of the tenant's connections.",
        ),
        (
            "tenantry_tenant_cpu_cores",
            Count,
            "CPU use on database threads over the last sample period, in cores.",
        ),
        ("tenantry_tenant_concurrent_requests", Count, "Requests being served."),
        (
            "tenantry_tenant_requests_last_day",
            Count,
            "Requests charged in the last 24 hours.",
        ),
        (
            "tenantry_tenant_quota_requests_per_day",
            Count,
            "Requests allowed in any 24 hours.",
        ),
        (
            "tenantry_tenant_quota_database_bytes",
            Bytes,
            "Bytes that the database file may have.",
        ),
        (
            "tenantry_tenant_quota_memory_bytes",
            Bytes,
            "Bytes of SQLite memory that the tenant may use.",
        ),
        (
            "tenantry_tenant_quota_cpu_cores",
            Count,
            "CPU share of the tenant, in cores.",
        ),
        (
            "tenantry_tenant_quota_concurrent_requests",
            Count,
            "Requests that may be served at one moment.",
        ),
        (
            "tenantry_tenant_peak_requests_per_minute",
            Count,
            "Requests in the busiest minute of the last 60.",
        ),
        (
            "tenantry_tenant_average_response_time_seconds",
            Seconds,
            "Average time to the end of an answer over the last 5 minutes.",
        ),
        (
            "tenantry_tenant_error_ratio",
            Count,
            "5xx other than 507 over all answers of the last hour.",
        ),
        (
            "tenantry_tenant_client_error_ratio",
            Count,
            "4xx other than 429 over all answers of the last hour.",
        ),
        (
            "tenantry_tenant_throttled_ratio",
            Count,
            "429 over all answers of the last hour.",
        ),
        (
            "tenantry_tenant_growth_bytes_per_hour",
            Count,
            "Growth of the database file over the last 2 hours.",
        ),
        (
            "tenantry_tenant_hotspot_score",
            Count,
            "How near the tenant is to its limits, 0 to 1.",
        ),
        ("tenantry_node_open_tenants", Count, "Tenants whose database is open."),
        (
            "tenantry_node_quota_tenants",
            Count,
            "Tenants whose request counters are in memory.",
        ),
        (
            "tenantry_node_concurrent_requests",
            Count,
            "Requests of all tenants being served.",
        ),
        (
            "tenantry_node_sampled_tenants",
            Count,
            "Tenants that were sampled in the last round.",
        ),
        (
            "tenantry_node_sampling_seconds",
            Seconds,
            "How long the last round of samples took.",
        ),
        (
            "tenantry_node_tenants_with_series",
            Count,
            "Tenants with series of their own.",
        ),
        (
            "tenantry_node_tenants_summed",
            Count,
            "Tenants that are summed into the tenant _other.",
        ),
    ];
    for (name, unit, help) in gauges {
        describe_gauge!(name, unit, help);
    }
    let counters = [
        ("tenantry_tenant_requests_total", Count, "Requests by class of answer."),
        (
            "tenantry_tenant_cpu_seconds_total",
            Seconds,
            "CPU time on database threads, in whole seconds.",
        ),
        ("tenantry_tenant_rows_read_total", Count, "Rows read by queries."),
        ("tenantry_tenant_rows_written_total", Count, "Rows written by queries."),
        (
            "tenantry_node_requests_total",
            Count,
            "Requests of all tenants by class of answer.",
        ),
        (
            "tenantry_node_quota_refusals_total",
            Count,
            "Requests refused by the first limit that they met.",
        ),
        (
            "tenantry_node_quota_ledger_writes_total",
            Count,
            "Quota ledgers written.",
        ),
        (
            "tenantry_node_quota_ledger_failures_total",
            Count,
            "Quota ledgers that could not be read or written.",
        ),
        (
            "tenantry_node_quota_ledgers_corrupt_total",
            Count,
            "Quota ledgers that did not parse, so that their tenants count as used up.",
        ),
        (
            "tenantry_node_quota_events_dropped_total",
            Count,
            "Quota crossings that nobody took in time.",
        ),
    ];
    for (name, unit, help) in counters {
        describe_counter!(name, unit, help);
    }
    describe_histogram!(
        "tenantry_tenant_response_time_seconds",
        Seconds,
        "Time from a request to the end of its answer."
    );
}
