// Package deprecation stands in for what reaches a cluster: Helm is compiled here without the clients of all Kubernetes objects.
package deprecation

import "k8s.io/apimachinery/pkg/runtime"

func IsDeprecated(runtime.Object, int, int) bool { return false }

func WarningMessage(runtime.Object) string { return "" }
