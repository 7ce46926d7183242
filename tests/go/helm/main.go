// Helm's own engine, loader, values and lint over a chart, without a cluster: a hundredth of its program is needed here.
//
//	helm template CHART RELEASE NAMESPACE KUBE_VERSION [VALUES]...   prints each file as it is rendered, as JSON
//	helm lint CHART NAMESPACE [VALUES]...                            prints what Helm says, and fails for what is wrong
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// Later files win, key by key, as with `helm -f`.
func values(files []string) map[string]any {
	merged := map[string]any{}
	for _, file := range files {
		merged = chartutil.MergeTables(must(chartutil.ReadValuesFile(file)), merged)
	}
	return merged
}

func template(chart, release, namespace, version string, files []string) map[string]string {
	capabilities := *chartutil.DefaultCapabilities
	capabilities.KubeVersion = *must(chartutil.ParseKubeVersion(version))
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	loaded := must(loader.Load(chart))
	if !chartutil.IsCompatibleRange(loaded.Metadata.KubeVersion, version) {
		must(0, fmt.Errorf("the chart is for Kubernetes %s, not %s", loaded.Metadata.KubeVersion, version))
	}
	given := must(chartutil.ToRenderValues(loaded, values(files), options, &capabilities))
	return must(engine.Render(loaded, given))
}

func main() {
	switch arguments := os.Args[2:]; os.Args[1] {
	case "template":
		rendered := template(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4:])
		must(0, json.NewEncoder(os.Stdout).Encode(rendered))
	case "lint":
		said := lint.All(arguments[0], values(arguments[2:]), arguments[1], true)
		for _, message := range said.Messages {
			fmt.Println(message)
		}
		if said.HighestSeverity >= support.WarningSev {
			os.Exit(1)
		}
	default:
		must(0, fmt.Errorf("template or lint?"))
	}
}
