package aws

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// differs is where we are stricter than the model, check by hand, or take what later releases and Terraform send.
var differs = map[string][]string{
	"CreateAlias": {"CreateAlias.FunctionVersion required", "CreateAlias.RevisionId is not in the model"},
	"CreateEventSourceMapping": {
		"CreateEventSourceMapping.EventSourceArn range", "CreateEventSourceMapping.FilterCriteria.Filters range", "CreateEventSourceMapping.KMSKeyArn range",
		"CreateEventSourceMapping.Tags key range", "CreateEventSourceMapping.Tags value range",
	},
	"CreateFunction": {
		"CreateFunction.Role range", "CreateFunction.Role required", "CreateFunction.Runtime enum", "CreateFunction.Runtime range",
		"CreateFunction.Tags key range", "CreateFunction.Tags value range",
	},
	"TagResource": {"TagResource.Tags key range", "TagResource.Tags value range"},
	"UpdateEventSourceMapping": {
		"UpdateEventSourceMapping.FilterCriteria.Filters range", "UpdateEventSourceMapping.KMSKeyArn range", "UpdateEventSourceMapping.Queues is not in the model",
		"UpdateEventSourceMapping.SelfManagedEventSource is not in the model", "UpdateEventSourceMapping.Topics is not in the model",
	},
	"UpdateFunctionConfiguration": {
		"UpdateFunctionConfiguration.Architectures is not in the model", "UpdateFunctionConfiguration.CodeSigningConfigArn is not in the model",
		"UpdateFunctionConfiguration.PackageType is not in the model", "UpdateFunctionConfiguration.Role range", "UpdateFunctionConfiguration.Runtime enum",
		"UpdateFunctionConfiguration.Runtime range", "UpdateFunctionConfiguration.TenancyConfig is not in the model",
	},
}

// TestLambdaModel compares the documents of Lambda's operations with the service's model, as botocore 1.43 knows it.
func TestLambdaModel(t *testing.T) {
	b, err := os.ReadFile("testdata/lambda.json")
	if err != nil {
		t.Fatal(err)
	}
	var known map[string]modelShape
	if err := json.Unmarshal(b, &known); err != nil {
		t.Fatal(err)
	}
	for _, r := range routes() {
		name := strings.TrimPrefix(r.name, lambdaPrefix)
		if r.input == nil {
			continue
		}
		want, ok := known[name]
		if !ok {
			t.Errorf("%s is not in the file", name)
			continue
		}
		got := differences(name, r.input, want)
		slices.Sort(got)
		if slices.Sort(differs[name]); !slices.Equal(got, differs[name]) {
			t.Errorf("%s differs from the model in\n%q, want\n%q", name, got, differs[name])
		}
		delete(known, name)
	}
	for name := range known {
		t.Errorf("there is no operation %s", name)
	}
}

// differences are where a shape is not that of the model, but for patterns, and for what is taken whatever it is.
func differences(path string, s *shape, want modelShape) (all []string) {
	if s.kind == anyKind {
		return nil
	}
	if got := kinds[want.Type]; s.kind != got {
		return []string{path + " is a " + want.Type}
	}
	minimum, maximum := int64(0), int64(0)
	if want.Min != nil {
		minimum = *want.Min
	}
	if want.Max != nil {
		maximum = *want.Max
	}
	if s.min != minimum || s.max != maximum {
		all = append(all, path+" range")
	}
	if !slices.Equal(slices.Sorted(slices.Values(s.enum)), slices.Sorted(slices.Values(want.Enum))) {
		all = append(all, path+" enum")
	}
	switch s.kind {
	case listKind:
		all = append(all, differences(path+"[]", s.elem, *want.Elem)...)
	case mapKind:
		all = append(all, differences(path+" key", s.key, *want.Key)...)
		all = append(all, differences(path+" value", s.elem, *want.Value)...)
	case structure:
		for i := range s.members {
			m := &s.members[i]
			w, ok := want.Members[m.name]
			if !ok {
				all = append(all, path+"."+m.name+" is not in the model")
				continue
			}
			if m.required != slices.Contains(want.Required, m.name) {
				all = append(all, path+"."+m.name+" required")
			}
			all = append(all, differences(path+"."+m.name, &m.shape, w)...)
		}
		for name := range want.Members {
			if !slices.ContainsFunc(s.members, func(m member) bool { return m.name == name }) {
				all = append(all, path+"."+name+" is missing")
			}
		}
	}
	return all
}
