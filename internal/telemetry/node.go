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
	t.tenants.observe(source)
	t.registry.MustRegister(&nodeCollector{source: source})
}

// nodeCollector asks a Source at each scrape.
type nodeCollector struct {
	source Source
}

var (
	tenantsDesc  = nodeDesc("tenants", "Tenants that exist.")
	openDesc     = nodeDesc("open_tenants", "Tenants that are open now.")
	diskFreeDesc = nodeDesc("disk_free_bytes", "Bytes that the disk of the data directory has left.")
	readyDesc    = nodeDesc("ready", "1 while the server takes requests, 0 before and while it shuts down.")
)

func nodeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kimberlite_"+name, help, labels, nil)
}

// Describe is for the registry.
func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{tenantsDesc, openDesc, diskFreeDesc, readyDesc} {
		ch <- d
	}
}

// Collect is for the registry.
func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
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
}
