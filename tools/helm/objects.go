package main

import (
	"fmt"
	"path"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	security "k8s.io/pod-security-admission/api"
	standard "k8s.io/pod-security-admission/policy"
)

// objects are what a chart renders to.
type objects struct {
	count    int
	names    map[string]bool
	sets     []*apps.StatefulSet
	services []*core.Service
	accounts []*core.ServiceAccount
	budgets  []*policy.PodDisruptionBudget
	networks []*network.NetworkPolicy
}

// decode reads every document as its type; a field that the type does not have
// is an error.
func decode(files map[string]string) (*objects, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apps.AddToScheme, core.AddToScheme, network.AddToScheme, policy.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	all := &objects{names: map[string]bool{}}
	for name, text := range files {
		if path.Ext(name) != ".yaml" {
			continue
		}
		for _, document := range strings.Split(text, "\n---\n") {
			if empty(document) {
				continue
			}
			object, _, err := decoder.Decode([]byte(document), nil, nil)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if err := all.add(object); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return all, nil
}

func empty(document string) bool {
	for _, line := range strings.Split(document, "\n") {
		if line = strings.TrimSpace(line); line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

func (o *objects) add(object runtime.Object) error {
	o.count++
	switch x := object.(type) {
	case *apps.StatefulSet:
		o.sets = append(o.sets, x)
	case *core.Service:
		o.services = append(o.services, x)
	case *core.ServiceAccount:
		o.accounts = append(o.accounts, x)
	case *policy.PodDisruptionBudget:
		o.budgets = append(o.budgets, x)
	case *network.NetworkPolicy:
		o.networks = append(o.networks, x)
	default:
		return fmt.Errorf("a %T: teach tools/helm what to check of it", object)
	}
	named := object.(meta.Object)
	key := fmt.Sprintf("%T/%s", object, named.GetName())
	if o.names[key] {
		return fmt.Errorf("two of %s", key)
	}
	o.names[key] = true
	return nil
}

// check returns what is wrong beyond the types.
func (o *objects) check() []error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.sets) == 0 || len(o.services) != 3 || len(o.budgets) != 1 || len(o.accounts) != 1 {
		wrong("%d stateful sets, %d services, %d disruption budgets, %d service accounts", len(o.sets), len(o.services), len(o.budgets), len(o.accounts))
	}
	for _, set := range o.sets {
		o.checkSet(set, wrong)
	}
	for _, s := range o.services {
		o.selects("service "+s.Name, labels.SelectorFromSet(s.Spec.Selector), wrong)
		for _, port := range s.Spec.Ports {
			for _, set := range o.sets {
				if !hasPort(set, port.TargetPort.StrVal) {
					wrong("service %s: %s has no port called %q", s.Name, set.Name, port.TargetPort.StrVal)
				}
			}
		}
	}
	for _, b := range o.budgets {
		selector, err := meta.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			wrong("disruption budget: %w", err)
			continue
		}
		o.selects("disruption budget", selector, wrong)
	}
	for _, n := range o.networks {
		selector, err := meta.LabelSelectorAsSelector(&n.Spec.PodSelector)
		if err != nil {
			wrong("network policy: %w", err)
			continue
		}
		o.selects("network policy", selector, wrong)
	}
	return errs
}

// selects checks that a selector selects the pods of every pool.
func (o *objects) selects(what string, selector labels.Selector, wrong func(string, ...any)) {
	for _, set := range o.sets {
		if selector.Empty() || !selector.Matches(labels.Set(set.Spec.Template.Labels)) {
			wrong("%s does not select the pods of %s", what, set.Name)
		}
	}
}

func (o *objects) checkSet(set *apps.StatefulSet, wrong func(string, ...any)) {
	selector, err := meta.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		wrong("%s: %w", set.Name, err)
		return
	}
	for _, other := range o.sets {
		if selector.Matches(labels.Set(other.Spec.Template.Labels)) != (other == set) {
			wrong("%s selects the pods of %s: %v", set.Name, other.Name, other != set)
		}
	}
	headless := false
	for _, s := range o.services {
		headless = headless || s.Name == set.Spec.ServiceName && s.Spec.ClusterIP == core.ClusterIPNone && s.Spec.PublishNotReadyAddresses
	}
	if !headless {
		wrong("%s: its service %q is none of its nodes' names", set.Name, set.Spec.ServiceName)
	}
	o.checkPod(set, wrong)
}

func (o *objects) checkPod(set *apps.StatefulSet, wrong func(string, ...any)) {
	pod := &set.Spec.Template
	evaluator, err := standard.NewEvaluator(standard.DefaultChecks(), nil)
	if err != nil {
		wrong("%w", err)
		return
	}
	restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			wrong("%s: %s: %s", set.Name, result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if len(o.accounts) == 1 && pod.Spec.ServiceAccountName != o.accounts[0].Name {
		wrong("%s: there is no service account %q", set.Name, pod.Spec.ServiceAccountName)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, v := range set.Spec.VolumeClaimTemplates {
		volumes[v.Name] = true
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
			wrong("%s, container %s: its root can be written", set.Name, c.Name)
		}
		seen := map[string]bool{}
		for _, e := range c.Env {
			if seen[e.Name] {
				wrong("%s, container %s: %s is set twice", set.Name, c.Name, e.Name)
			}
			seen[e.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				wrong("%s, container %s: there is no volume %q", set.Name, c.Name, m.Name)
			}
		}
	}
	for _, c := range pod.Spec.Containers {
		for name, probe := range map[string]*core.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet == nil || !hasPort(set, probe.HTTPGet.Port.StrVal) {
				wrong("%s: the %s probe asks no port of the pod", set.Name, name)
			}
		}
	}
}

func hasPort(set *apps.StatefulSet, name string) bool {
	for _, c := range set.Spec.Template.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return true
			}
		}
	}
	return false
}
