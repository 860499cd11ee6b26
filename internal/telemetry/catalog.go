package telemetry

import (
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is a metric of Kimberlite's own: those of Go and of the process are
// described by their own projects.
type Metric struct {
	Name, Help string
	Labels     []string
}

// descText is how the registry's library writes a description.
var descText = regexp.MustCompile(`fqName: "(kimberlite_[a-z_]+)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

// Catalog returns every metric that a server has, by name, for the reference.
func Catalog() ([]Metric, error) {
	t, err := New(Config{})
	if err != nil {
		return nil, err
	}
	t.registry.MustRegister(&nodeCollector{}, &clusterCollector{})
	descs := make(chan *prometheus.Desc)
	go func() { // ends when all are described
		t.registry.Describe(descs)
		close(descs)
	}()
	var all []Metric
	for d := range descs {
		m := descText.FindStringSubmatch(d.String())
		if m == nil {
			continue
		}
		metric := Metric{Name: m[1], Help: strings.ReplaceAll(m[2], `\"`, `"`)}
		if m[3] != "" {
			metric.Labels = strings.Split(m[3], ",")
		}
		all = append(all, metric)
	}
	slices.SortFunc(all, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
