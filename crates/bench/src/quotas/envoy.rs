//! Envoy's configuration: one listener, a limit for each tenant by the request's host, one server behind it. Pure.

use std::net::SocketAddr;

use super::servers::Limit;

/// As many as Envoy can count.
const GENEROUS_TOKENS: u32 = u32::MAX;

/// Static, with everything that is not needed left out: no statistics for each request, no access log, no request ids.
pub(super) fn configuration(listen: SocketAddr, upstream: SocketAddr, hosts: &[String], limit: Limit) -> String {
    let generous = bucket(GENEROUS_TOKENS, 1);
    let tenants = match limit {
        Limit::Generous => bucket(GENEROUS_TOKENS, 1),
        Limit::NoneLeft => bucket(1, 24 * 60 * 60),
    };
    let descriptor = |host: &String| {
        format!(
            r#"
              - entries: [{{key: tenant, value: "{host}"}}]
                token_bucket: {tenants}"#
        )
    };
    let descriptors: String = hosts.iter().map(descriptor).collect();
    let all = r#"{default_value: {numerator: 100, denominator: HUNDRED}}"#;
    format!(
        r#"
static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: HTTP1
          generate_request_id: false
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              filter_enabled: {all}
              filter_enforced: {all}
              token_bucket: {generous}
              descriptors:{descriptors}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route:
                  cluster: answer
                  rate_limits:
                  - actions: [{{request_headers: {{header_name: ":authority", descriptor_key: tenant}}}}]
  clusters:
  - name: answer
    connect_timeout: 5s
    type: STATIC
    load_assignment:
      cluster_name: answer
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {upstream}}}}}]}}]
"#,
        listen = address(listen),
        upstream = address(upstream),
    )
}

fn address(of: SocketAddr) -> String {
    format!(
        "{{socket_address: {{address: {}, port_value: {}}}}}",
        of.ip(),
        of.port()
    )
}

/// Filled at the start, and again after so many seconds.
fn bucket(tokens: u32, seconds: u32) -> String {
    format!("{{max_tokens: {tokens}, tokens_per_fill: {tokens}, fill_interval: {seconds}s}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenants_bucket_alone_depends_on_the_limit() {
        let of = |limit| {
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            configuration(address, address, &["t-0.localhost".to_owned()], limit)
        };
        let (generous, none_left) = (of(Limit::Generous), of(Limit::NoneLeft));
        let different = generous
            .lines()
            .zip(none_left.lines())
            .filter(|(one, other)| one != other);
        let different: Vec<&str> = different.map(|(_, line)| line.trim()).collect();
        assert_eq!(
            different,
            ["token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 86400s}"]
        );
    }
}
