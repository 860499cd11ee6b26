package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"kimberlite/internal/ident"
)

// The series of the tenants that do most.
var (
	topStatementsDesc = topDesc("statements_total", "Statements and requests")
	topRowsDesc       = topDesc("rows_total", "Rows returned or changed")
	topErrorsDesc     = topDesc("errors_total", "Statements and requests that failed")
	topRefusalsDesc   = topDesc("quota_refusals_total", "Statements and requests that a quota refused")
	topBusyDesc       = topDesc("busy_seconds_total", "Time that statements and requests took")

	logBytesDesc        = nodeDesc("tenant_log_bytes", "Bytes of the log, for the tenants that do most, by id.", "tenant")
	projectionBytesDesc = nodeDesc("tenant_projection_bytes", "Bytes of the tables, for the tenants that do most, by id.", "tenant")
	inFlightDesc        = nodeDesc("tenant_operations_in_flight", "Operations that run now, for the tenants that do most, by id.", "tenant")
	limitDesc           = nodeDesc("tenant_limit", "Quotas in force, for the tenants that do most, by id and limit; no series is no limit.", "tenant", "limit")
)

func topDesc(name, help string) *prometheus.Desc {
	return nodeDesc("tenant_"+name, help+", for the tenants that do most, by id; tenant=\"other\" is all others.", "tenant")
}

// Describe is for the registry.
func (t *topTenants) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		topStatementsDesc, topRowsDesc, topErrorsDesc, topRefusalsDesc, topBusyDesc,
		logBytesDesc, projectionBytesDesc, inFlightDesc, limitDesc,
	} {
		ch <- d
	}
}

// Collect is for the registry: it gives it the counters as they are, and what
// the same tenants use now.
func (t *topTenants) Collect(ch chan<- prometheus.Metric) {
	counters, source := t.snapshot()
	for tenant, u := range counters {
		label := otherTenants
		if !tenant.IsZero() {
			label = tenant.String()
		}
		count := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, label)
		}
		count(topStatementsDesc, float64(u.statements))
		count(topRowsDesc, float64(u.rows))
		count(topErrorsDesc, float64(u.errors))
		count(topRefusalsDesc, float64(u.refusals))
		count(topBusyDesc, u.busy.Seconds())
		if source != nil && !tenant.IsZero() {
			collectUsage(ch, source, tenant)
		}
	}
}

func collectUsage(ch chan<- prometheus.Metric, source Source, tenant ident.TenantID) {
	u, ok := source.Usage(tenant)
	if !ok {
		return
	}
	id := tenant.String()
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(logBytesDesc, u.LogBytes, id)
	gauge(projectionBytesDesc, u.ProjectionBytes, id)
	gauge(inFlightDesc, u.InFlight, id)
	for limit, v := range map[string]int64{
		"max_log_size": u.MaxLogBytes, "max_projections": u.MaxProjectionBytes, "max_concurrent_ops": u.MaxOps,
	} {
		if v > 0 {
			gauge(limitDesc, v, id, limit)
		}
	}
}
