//! tenantry-state
