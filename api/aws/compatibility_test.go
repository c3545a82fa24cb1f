package aws

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
)

// sdkOperations are the operations of a client of the Go SDK: its methods that take an input of their name.
func sdkOperations(client reflect.Type) []string {
	var names []string
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() >= 3 && m.Type.In(2).Kind() == reflect.Pointer && m.Type.In(2).Elem().Name() == m.Name+"Input" {
			names = append(names, m.Name)
		}
	}
	return names
}

// documentedOperations are the rows of the tables in a part of the document.
func documentedOperations(t *testing.T, part string) map[string]string {
	documented := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z]\w+) \| ([^|]+) \| ([^|]*)\|$`).FindAllStringSubmatch(part, -1) {
		if m[2] != "full" && m[2] != "stored only" && m[2] != "refused" {
			t.Errorf("%s is %q", m[1], m[2])
		}
		if m[2] == "refused" && strings.TrimSpace(m[3]) == "" {
			t.Errorf("%s is refused, and it is not said why", m[1])
		}
		documented[m[1]] = m[2]
	}
	return documented
}

// lambdaOperations holds what is documented of Lambda against the table of its operations.
func lambdaOperations(t *testing.T, documented map[string]string) {
	ours := map[string]bool{}
	for _, r := range routes() {
		name := strings.TrimPrefix(r.name, lambdaPrefix)
		ours[name] = true
		if r.permission == "" {
			t.Errorf("%s needs no permission", name)
		}
		if documented[name] == "" {
			t.Errorf("%s is not documented", name)
		}
	}
	names := sdkOperations(reflect.TypeFor[*awslambda.Client]())
	if len(names) < 85 {
		t.Errorf("the SDK has %d operations of Lambda", len(names))
	}
	if got := slices.Sorted(maps.Keys(documented)); !slices.Equal(got, names) {
		t.Errorf("documented of Lambda are %v\nthe SDK has %v", got, names)
	}
	for name, how := range documented {
		// One path is both, told apart by a parameter.
		if !ours[name] && how != "refused" && name != "ListProvisionedConcurrencyConfigs" {
			t.Errorf("%s is documented as %s, and there is no such operation", name, how)
		}
	}
}

// TestCompatibility holds docs/aws-compatibility.md against the SDK's operations and against the table of ours.
func TestCompatibility(t *testing.T) {
	b, err := os.ReadFile("../../docs/aws-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	kinesisPart, lambdaPart, found := strings.Cut(string(b), "\n# Lambda\n")
	if !found {
		t.Error("Lambda has no part of its own")
	}
	documented := documentedOperations(t, kinesisPart)
	lambdaOperations(t, documentedOperations(t, lambdaPart))
	names := sdkOperations(reflect.TypeFor[*kinesis.Client]())
	if len(names) < 45 {
		t.Errorf("the SDK has %d operations", len(names))
	}
	if got := slices.Sorted(maps.Keys(documented)); !slices.Equal(got, names) {
		t.Errorf("documented are %v\nthe SDK has %v", got, names)
	}
	ours := map[string]bool{}
	for _, op := range operations() {
		ours[op.name] = true
		if op.permission == "" {
			t.Errorf("%s needs no permission", op.name)
		}
	}
	for name, how := range documented {
		if !ours[name] && how != "refused" {
			t.Errorf("%s is documented as %s, and there is no such operation", name, how)
		}
	}
	for name := range ours {
		if documented[name] == "" {
			t.Errorf("%s is not documented", name)
		}
	}
}
