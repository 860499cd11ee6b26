package main

import (
	"maps"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

const chartPath = "../../deploy/helm/kimberlite"

func TestTheChartIsSound(t *testing.T) {
	t.Parallel()
	if err := check(chartPath); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsWrongIsFound changes what the chart renders to: if none of it were
// found, the check above would say nothing.
func TestWhatIsWrongIsFound(t *testing.T) {
	t.Parallel()
	rendered := renderCI(t, "three-zones.yaml")
	for _, test := range []struct{ name, from, to, says string }{
		{"a field that does not exist", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "unknown field"},
		{"a kind that does not exist", "kind: PodDisruptionBudget", "kind: PodDisruption", "no kind"},
		{"a root that can be written", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "can be written"},
		{"a user that may be root", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		{"capabilities", "drop: [ALL]", "drop: [CHOWN]", "capabilities"},
		{"more privilege", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation"},
		{"no seccomp profile", "type: RuntimeDefault", "type: Unconfined", "seccomp"},
		{"a service that selects nothing", "app.kubernetes.io/instance: db\n  ports:", "app.kubernetes.io/instance: other\n  ports:", "does not select"},
		{"a port that nobody has", "targetPort: rpc", "targetPort: http", `no port called "http"`},
		{"a probe of no port", "port: rpc, scheme: HTTPS", "port: operator, scheme: HTTPS", "asks no port"},
		{"a headless service of another name", "serviceName: db-peers", "serviceName: db-nodes", "is none of its nodes' names"},
		{"peers that wait for readiness", "publishNotReadyAddresses: true", "publishNotReadyAddresses: false", "is none of its nodes' names"},
		{"pools that share pods", "kimberlite/pool: b", "kimberlite/pool: c", "selects the pods"},
		{"a mount of nothing", "- name: tls\n              mountPath", "- name: certificates\n              mountPath", "no volume"},
		{"a variable twice", "name: KIMBERLITE_PG_ADDR", "name: KIMBERLITE_RPC_ADDR", "set twice"},
		{"another service account", "serviceAccountName: db", "serviceAccountName: default", "no service account"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			changed, found := maps.Clone(rendered), false
			for name, text := range changed {
				found = found || strings.Contains(text, test.from)
				changed[name] = strings.ReplaceAll(text, test.from, test.to)
			}
			if !found {
				t.Fatalf("the chart does not say %q any more", test.from)
			}
			said := ""
			objects, err := decode(changed)
			if err != nil {
				said = err.Error()
			} else {
				for _, err := range objects.check() {
					said += err.Error() + "\n"
				}
			}
			if !strings.Contains(said, test.says) {
				t.Errorf("found %q, which does not say %q", said, test.says)
			}
		})
	}
}

func TestValuesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	ch, err := loader.Load(chartPath)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no master key":               "{tls: {secret: x}}",
		"a master key of no kind":     "{tls: {secret: x}, masterKey: {url: /etc/key}}",
		"no certificate":              "{masterKey: {url: file:///k}}",
		"two first nodes":             "{tls: {secret: x}, masterKey: {url: file:///k}, pools: [{name: a, region: r, first: true, nodes: 1}, {name: b, region: r, first: true, nodes: 1}]}",
		"two nodes that are first":    "{tls: {secret: x}, masterKey: {url: file:///k}, pools: [{name: a, region: r, first: true, nodes: 2}]}",
		"nodes that cannot join":      "{tls: {secret: x}, masterKey: {url: file:///k}, pools: [{name: a, region: r, nodes: 2}]}",
		"a region of another form":    "{tls: {secret: x}, masterKey: {url: file:///k}, pools: [{name: a, region: US_East, first: true, nodes: 1}]}",
		"configuration of other name": "{tls: {secret: x}, masterKey: {url: file:///k}, config: {PATH: x}}",
	} {
		values, err := chartutil.ReadValues([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := render(ch, values); err == nil {
			t.Errorf("%s: it renders", name)
		}
	}
}

func renderCI(t *testing.T, file string) map[string]string {
	t.Helper()
	ch, err := loader.Load(chartPath)
	if err != nil {
		t.Fatal(err)
	}
	values, err := chartutil.ReadValuesFile(chartPath + "/ci/" + file)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := render(ch, values)
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}
