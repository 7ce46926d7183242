// A kube-apiserver and its etcd in one process: what a cluster says to a manifest, without a cluster or an image.
//
//	kube-apiserver FOLDER [FLAG OF KUBE-APISERVER]...   keeps everything in FOLDER, until it is told to end
package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// On sockets of the folder, for etcd asks nobody who they are.
func start(folder string) (*embed.Etcd, string, error) {
	socket := func(name string) url.URL {
		return url.URL{Scheme: "unix", Path: filepath.Join(folder, name)}
	}
	clients, peers := []url.URL{socket("clients")}, []url.URL{socket("peers")}
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "etcd")
	config.LogLevel = "warn"
	config.ListenClientUrls, config.AdvertiseClientUrls = clients, clients
	config.ListenPeerUrls, config.AdvertisePeerUrls = peers, peers
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	return etcd, clients[0].String(), err
}

func main() {
	etcd, address, err := start(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-etcd.Server.ReadyNotify()
	os.Args = append([]string{os.Args[0], "--etcd-servers=" + address}, os.Args[2:]...)
	status := cli.Run(app.NewAPIServerCommand())
	etcd.Close()
	os.Exit(status)
}
