package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/scenarios"
)

// TestKubernetesLoad gives loadgen what each pod of deploy/kubernetes/loadgen.yaml gives it, without running it: the flags, as the pod's shell reads
// them, and the scenario.
func TestKubernetesLoad(t *testing.T) {
	data, err := os.ReadFile("../../deploy/kubernetes/loadgen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(string(data), "\n---\n")
	var config corev1.ConfigMap
	var job batchv1.Job
	if len(docs) != 2 {
		t.Fatalf("%d objects", len(docs))
	}
	for i, into := range []any{&config, &job} {
		if err := yaml.UnmarshalStrict([]byte(docs[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	p, err := scenarios.Parse("load.yaml", []byte(config.Data["load.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	if p.Executor.Kind != loadgen.Open {
		t.Errorf("a %s load cannot be split", p.Executor.Kind)
	}
	shards := int(*job.Spec.Completions)
	for index := range shards {
		words := shellWords(t, job.Spec.Template.Spec.Containers[0].Args[0], index)
		cmd := runCommand("")
		if err := cmd.ParseFlags(words[3:]); err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		if words[0] != "exec" || words[1] != "loadgen" || words[2] != "run" || cmd.Flags().Arg(0) != "/etc/loadgen/load.yaml" {
			t.Errorf("the pod runs %q", words)
		}
		if got, want := cmd.Flags().Lookup("shard").Value.String(), fmt.Sprintf("%d/%d", index+1, shards); got != want {
			t.Errorf("pod %d takes shard %s, want %s", index, got, want)
		}
	}
}

// shellWords reads the words of a command as the shell of pod number index would, as far as the manifest needs it.
func shellWords(t *testing.T, command string, index int) []string {
	t.Helper()
	sum := regexp.MustCompile(`\$\(\(JOB_COMPLETION_INDEX \+ 1\)\)`)
	command = sum.ReplaceAllString(command, fmt.Sprint(index+1))
	command = strings.ReplaceAll(command, `"`, "")
	if strings.ContainsAny(command, "$'`\\;&|") {
		t.Fatalf("the command needs a shell: %s", command)
	}
	return strings.Fields(command)
}
