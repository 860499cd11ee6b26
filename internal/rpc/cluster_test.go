package rpc

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"kimberlite/internal/fault"
)

// TestAServerOfNoClusterSaysSo calls every method of the cluster on a server
// that is on its own.
func TestAServerOfNoClusterSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	called := 0
	eachMethod(t, func(procedure string, m protoreflect.MethodDescriptor) {
		if m.Parent().Name() != "ClusterService" {
			return
		}
		called++
		request := map[string]string{}
		for name, value := range map[string]string{"tenant": "1", "region": "local", "shard": "1", "node": "1"} {
			if m.Input().Fields().ByName(protoreflect.Name(name)) != nil {
				request[name] = value
			}
		}
		message, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		got := b.call(m, procedure, b.secrets["operator"], string(message))
		if got.code != fault.Unsupported.RPCCode() || !strings.Contains(got.text, "kimberlite cluster init") {
			t.Errorf("%s: %s", procedure, got.text)
		}
	})
	if called < 15 {
		t.Errorf("%d methods: the test looks at the wrong place", called)
	}
}
