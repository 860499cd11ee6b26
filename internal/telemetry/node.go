package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"kimberlite/internal/ident"
)

// Source says how it stands with the node. Its methods are called at each
// scrape, by several goroutines at once, and must be quick.
type Source interface {
	// Tenants returns how many tenants there are, and how many are open.
	Tenants() (all, open int)
	// Usage returns the bytes of a tenant's log and projection, the
	// operations that run now and what its quotas allow; ok is false when
	// there is no such tenant.
	Usage(tenant ident.TenantID) (u Usage, ok bool)
	// DiskFree returns the bytes that the data directory's disk has left.
	DiskFree() (bytes uint64, ok bool)
	// Ready says whether the server takes requests.
	Ready() bool
}

// Usage is what a tenant uses now, and its limits; 0 is no limit.
type Usage struct {
	LogBytes, ProjectionBytes, InFlight     int64
	MaxLogBytes, MaxProjectionBytes, MaxOps int64
}

// Observe adds what source says to the metrics. It is called once.
func (t *Telemetry) Observe(source Source) {
	t.registry.MustRegister(&nodeCollector{source: source, tenants: t.tenants})
}

// nodeCollector asks a Source at each scrape.
type nodeCollector struct {
	source  Source
	tenants *topTenants
}

var (
	tenantsDesc  = nodeDesc("tenants", "Tenants that exist.")
	openDesc     = nodeDesc("open_tenants", "Tenants that are open now.")
	diskFreeDesc = nodeDesc("disk_free_bytes", "Bytes that the disk of the data directory has left.")
	readyDesc    = nodeDesc("ready", "1 while the server takes requests, 0 before and while it shuts down.")

	logBytesDesc        = nodeDesc("tenant_log_bytes", "Bytes of the log, for the tenants that do most, by id.", "tenant")
	projectionBytesDesc = nodeDesc("tenant_projection_bytes", "Bytes of the tables, for the tenants that do most, by id.", "tenant")
	inFlightDesc        = nodeDesc("tenant_operations_in_flight", "Operations that run now, for the tenants that do most, by id.", "tenant")
	limitDesc           = nodeDesc("tenant_limit", "Quotas in force, for the tenants that do most, by id and limit; no series is no limit.", "tenant", "limit")
)

func nodeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kimberlite_"+name, help, labels, nil)
}

// Describe is for the registry.
func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		tenantsDesc, openDesc, diskFreeDesc, readyDesc, logBytesDesc, projectionBytesDesc, inFlightDesc, limitDesc,
	} {
		ch <- d
	}
}

// Collect is for the registry.
func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ready := 0.0
	if c.source.Ready() {
		ready = 1
	}
	all, open := c.source.Tenants()
	gauge(readyDesc, ready)
	gauge(tenantsDesc, float64(all))
	gauge(openDesc, float64(open))
	if free, ok := c.source.DiskFree(); ok {
		gauge(diskFreeDesc, float64(free))
	}
	for _, tenant := range c.tenants.names() {
		u, ok := c.source.Usage(tenant)
		if !ok {
			continue
		}
		id := tenant.String()
		gauge(logBytesDesc, float64(u.LogBytes), id)
		gauge(projectionBytesDesc, float64(u.ProjectionBytes), id)
		gauge(inFlightDesc, float64(u.InFlight), id)
		for limit, v := range map[string]int64{
			"max_log_size": u.MaxLogBytes, "max_projections": u.MaxProjectionBytes, "max_concurrent_ops": u.MaxOps,
		} {
			if v > 0 {
				gauge(limitDesc, float64(v), id, limit)
			}
		}
	}
}
