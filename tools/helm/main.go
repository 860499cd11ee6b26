// Command helm checks a chart without a cluster and without the network: it
// lints it, renders it with each values file of its ci directory, decodes what
// comes out strictly as the types of Kubernetes, holds pods to the restricted
// security standard, and checks what no type says: that selectors select, and
// that services and probes name ports that exist.
//
// It is a module of its own, so that the product's has none of Kubernetes'.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: helm CHART")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const namespace = "kimberlite"

func check(path string) error {
	files, err := filepath.Glob(filepath.Join(path, "ci", "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s/ci has no values to try", path)
	}
	ch, err := loader.Load(path)
	if err != nil {
		return err
	}
	if err := refusesDefaults(ch); err != nil {
		return err
	}
	for _, file := range files {
		values, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return err
		}
		if err := checkValues(path, ch, values); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

// refusesDefaults checks that what must be given is missed.
func refusesDefaults(ch *chart.Chart) error {
	if _, err := render(ch, chartutil.Values{}); err == nil {
		return errors.New("the chart renders without a master key: values.schema.json does not ask for it")
	}
	return nil
}

func checkValues(path string, ch *chart.Chart, values chartutil.Values) error {
	var errs []error
	for _, m := range lint.AllWithKubeVersionAndSchemaValidation(path, values, namespace, nil, false).Messages {
		if m.Severity >= support.WarningSev {
			errs = append(errs, m)
		}
	}
	rendered, err := render(ch, values)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	objects, err := decode(rendered)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, objects.check()...)
	if len(errs) == 0 {
		fmt.Printf("%d objects, %d pools\n", objects.count, len(objects.sets))
	}
	return errors.Join(errs...)
}

// render returns the chart's files with the values.
func render(ch *chart.Chart, values chartutil.Values) (map[string]string, error) {
	release := chartutil.ReleaseOptions{Name: "db", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(ch, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(ch, all)
}
