package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/openaccess-mcp/openaccess-mcp/server/gateway"
)

// manifests are the objects of a file, decoded strictly into the types of the Kubernetes API.
type manifests struct {
	deployments []appsv1.Deployment
	jobs        []batchv1.Job
	services    []corev1.Service
	configs     map[string]corev1.ConfigMap
	secrets     map[string]corev1.Secret
}

// readManifests decodes a file of deploy/kubernetes. A field that the API does not have is an error, and so is a kind that is not expected.
func readManifests(t *testing.T, name string) manifests {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../deploy/kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	m := manifests{configs: map[string]corev1.ConfigMap{}, secrets: map[string]corev1.Secret{}}
	for _, doc := range strings.Split(string(data), "\n---\n") {
		switch kind := regexp.MustCompile(`(?m)^kind: (\w+)$`).FindStringSubmatch(doc); {
		case kind == nil:
			t.Fatalf("%s: an object has no kind", name)
		case kind[1] == "Deployment":
			m.deployments = append(m.deployments, object[appsv1.Deployment](t, name, "apps/v1", doc))
		case kind[1] == "Job":
			m.jobs = append(m.jobs, object[batchv1.Job](t, name, "batch/v1", doc))
		case kind[1] == "Service":
			m.services = append(m.services, object[corev1.Service](t, name, "v1", doc))
		case kind[1] == "ConfigMap":
			c := object[corev1.ConfigMap](t, name, "v1", doc)
			m.configs[c.Name] = c
		case kind[1] == "Secret":
			s := object[corev1.Secret](t, name, "v1", doc)
			m.secrets[s.Name] = s
		default:
			t.Fatalf("%s: kind %s is not looked at", name, kind[1])
		}
	}
	return m
}

func object[T any](t *testing.T, name, version, doc string) (o T) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !strings.Contains(doc, "apiVersion: "+version+"\n") {
		t.Errorf("%s: want apiVersion %s in\n%s", name, version, doc)
	}
	return o
}

func TestKubernetesManifests(t *testing.T) {
	server, load, secrets := readManifests(t, "server.yaml"), readManifests(t, "loadgen.yaml"), readManifests(t, "secrets.yaml")
	if len(server.deployments) != 1 || len(server.services) != 1 || len(load.jobs) != 1 || len(secrets.secrets) != 3 {
		t.Fatalf("%d deployments, %d services, %d jobs, %d secrets", len(server.deployments), len(server.services), len(load.jobs), len(secrets.secrets))
	}
	d, s, job := server.deployments[0], server.services[0], load.jobs[0]
	pod := d.Spec.Template
	for k, v := range s.Spec.Selector {
		if pod.Labels[k] != v || d.Spec.Selector.MatchLabels[k] != v {
			t.Errorf("the service selects %s=%s, which pods do not have", k, v)
		}
	}
	known := map[string]bool{"openaccess-mcp-profiles": true, "openaccess-mcp-tls": true} // made of files, as the head says
	for _, m := range []manifests{server, load, secrets} {
		for name := range m.configs {
			known[name] = true
		}
		for name := range m.secrets {
			known[name] = true
		}
	}
	checkPod(t, pod.Spec, known)
	checkPod(t, job.Spec.Template.Spec, known)
	if job.Spec.CompletionMode == nil || *job.Spec.CompletionMode != batchv1.IndexedCompletion || *job.Spec.Completions != *job.Spec.Parallelism {
		t.Errorf("the job is not indexed with all shards at once: %+v", job.Spec)
	}
	if !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return c.ReadinessProbe != nil && c.LivenessProbe != nil && slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == s.Spec.Ports[0].TargetPort.String() })
	}) {
		t.Error("no container has the service's port, with probes")
	}
}

// checkPod holds every container to what all have to say, and its volumes to what there is.
func checkPod(t *testing.T, pod corev1.PodSpec, known map[string]bool) {
	t.Helper()
	if sc := pod.SecurityContext; sc == nil || !*sc.RunAsNonRoot || sc.SeccompProfile == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("a pod is not locked down: %+v", sc)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && !known[v.ConfigMap.Name] || v.Secret != nil && !known[v.Secret.SecretName] {
			t.Errorf("volume %s is of something that nobody makes", v.Name)
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if sc := c.SecurityContext; sc == nil || *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("container %s is not locked down", c.Name)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("container %s asks for no resources, or is not limited", c.Name)
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("container %s mounts %s, which is no volume", c.Name, m.Name)
			}
		}
	}
}

// podFiles lays out what a pod of server.yaml has under root, the image's environment too. tokens replaces the file of that name unless it is "",
// and profiles are those that the pod is given. moved gives a path of the pod its place.
func podFiles(t *testing.T, m manifests, root, tokens string, profiles, credentials map[string]string) (moved func(string) string) {
	t.Helper()
	moved = func(s string) string {
		return strings.NewReplacer("/etc/openaccess-mcp", filepath.Join(root, "etc"), "/state/", filepath.Join(root, "state")+"/").Replace(s)
	}
	config := map[string]string{}
	for name, text := range m.configs["openaccess-mcp"].Data {
		config[name] = moved(text)
	}
	mountFiles(t, filepath.Join(root, "etc/config"), config, 0o644)
	given := readManifests(t, "secrets.yaml").secrets["openaccess-mcp-tokens"].StringData
	if tokens != "" {
		given = map[string]string{"tokens.yaml": tokens}
	}
	mountFiles(t, filepath.Join(root, "etc/tokens"), given, 0o440)
	mountFiles(t, filepath.Join(root, "etc/profiles"), profiles, 0o644)
	for name, text := range credentials { // copied by the init container
		layOut(t, filepath.Join(root, "etc/secrets", name), text, 0o600)
	}
	imageEnvironment(t, moved)
	return moved
}

// TestKubernetesConfiguration gives the programs what the pods give them: arguments, configuration, and files as the kubelet lays them out.
func TestKubernetesConfiguration(t *testing.T) {
	m := readManifests(t, "server.yaml")
	moved := podFiles(t, m, t.TempDir(), "", map[string]string{
		"web-01.json": `{"id": "web-01", "host": "10.10.1.15", "username": "deploy", "protocols": ["ssh"], "auth": {"type": "file_ref", "ref": "web-01"},
			"host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"}`,
	}, readManifests(t, "secrets.yaml").secrets["openaccess-mcp-secrets"].StringData)
	for _, c := range m.deployments[0].Spec.Template.Spec.Containers {
		if len(c.Args) == 0 {
			continue
		}
		args := []string{}
		for _, a := range c.Args {
			args = append(args, moved(a))
		}
		switch args[0] {
		case "serve":
			if err := serveCommand().ParseFlags(args[1:]); err != nil {
				t.Errorf("container %s: %v", c.Name, err)
			}
			var out, log bytes.Buffer
			if code := run(append([]string{"check"}, args[1:]...), nil, &out, &log); code != 0 || !strings.Contains(out.String(), "1 profile, no mistakes") {
				t.Errorf("container %s: exit code %d\n%s%s", c.Name, code, &out, &log)
			}
		case "gateway":
			if err := gatewayCommand().ParseFlags(args[1:]); err != nil {
				t.Errorf("container %s: %v", c.Name, err)
			}
			cfg, err := gateway.Load(gateway.Sources{File: args[2]})
			if err != nil {
				t.Fatal(err)
			}
			checkBackends(t, cfg, m.deployments[0].Spec.Template.Spec.Containers)
		default:
			t.Errorf("container %s runs %v", c.Name, args)
		}
	}
}

// checkBackends wants the gateway to reach each server of the pod, and nginx the gateway.
func checkBackends(t *testing.T, cfg gateway.Config, containers []corev1.Container) {
	t.Helper()
	var backends, servers []string
	for _, b := range cfg.Backends {
		backends = append(backends, b.URL)
	}
	for _, c := range containers {
		if i := slices.Index(c.Args, "--listen"); i > 0 {
			servers = append(servers, "http://"+c.Args[i+1]+"/mcp")
		}
	}
	if !slices.Equal(backends, servers) {
		t.Errorf("the gateway balances over %v, the servers are %v", backends, servers)
	}
	nginx := readManifests(t, "server.yaml").configs["openaccess-mcp"].Data["nginx.conf"]
	if !strings.Contains(nginx, "server "+cfg.Listen+";") {
		t.Errorf("nginx does not pass on to the gateway at %s", cfg.Listen)
	}
}

// imageEnvironment sets the environment that the container image has.
func imageEnvironment(t *testing.T, moved func(string) string) {
	t.Helper()
	data, err := os.ReadFile("../../deploy/container/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(OPENACCESS_\w+)=(\S+)`).FindAllStringSubmatch(string(data), -1)
	if len(found) < 3 {
		t.Fatalf("the image sets %v", found)
	}
	for _, m := range found {
		t.Setenv(m[1], moved(m[2]))
	}
}

// mountFiles lays files out as the kubelet does those of a ConfigMap or Secret: in a folder of their own, behind two links.
func mountFiles(t *testing.T, dir string, files map[string]string, mode os.FileMode) {
	t.Helper()
	const version = "..2026_01_31_12_00_00.123456789"
	for name, text := range files {
		layOut(t, filepath.Join(dir, version, name), text, mode)
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(version, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

func layOut(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
