// Package dynamic stands in for what reaches a cluster: Helm is compiled here without the clients of all Kubernetes objects.
package dynamic

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

type Object struct{}

func (Object) UnstructuredContent() map[string]any { return nil }

type ResourceInterface interface {
	Get(context.Context, string, metav1.GetOptions, ...string) (*Object, error)
	List(context.Context, metav1.ListOptions) (*Object, error)
}

type NamespaceableResourceInterface interface {
	ResourceInterface
	Namespace(string) ResourceInterface
}

type Interface interface {
	Resource(schema.GroupVersionResource) NamespaceableResourceInterface
}

func NewForConfig(*rest.Config) (Interface, error) { return nil, errors.New("there is no cluster") }
