// Package rest stands in for what reaches a cluster: Helm is compiled here without the clients of all Kubernetes objects.
package rest

type Config struct{}
