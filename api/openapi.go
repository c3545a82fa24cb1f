package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// schemaPrefix is where the document keeps the schemas of types.
const schemaPrefix = "#/components/schemas/"

// openAPI makes the OpenAPI 3.1 document of a table of routes. Schemas come
// from the Go types that the handlers decode and encode, by huma's registry.
func openAPI(table []route, version string) []byte {
	registry := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[jsontext.Value](), reflect.TypeFor[anyJSON]())
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:       "Shardmill",
			Version:     version,
			Description: "Durable, sharded streams of records that drive WebAssembly functions. Errors are RFC 9457 problems; their types are listed with the schema Problem.",
			License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Components: &huma.Components{Schemas: registry},
	}
	for _, rt := range table {
		doc.AddOperation(operation(registry, rt))
	}
	refine(registry, table)
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // the document holds plain values only
	}
	return append(b, '\n')
}

// operation describes one route.
func operation(registry huma.Registry, rt route) *huma.Operation {
	op := &huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: rt.path, Summary: rt.summary,
		Tags:       []string{strings.Split(rt.path, "/")[2]},
		Parameters: parameters(registry, rt),
		Responses:  map[string]*huma.Response{},
		Extensions: map[string]any{},
	}
	if rt.permission != "" {
		op.Extensions["x-shardmill-permission"] = rt.permission
	}
	if len(rt.action.in) > 0 {
		op.RequestBody = &huma.RequestBody{Content: contents(registry, rt.action.in)}
	}
	for _, a := range rt.action.out {
		response := &huma.Response{Description: http.StatusText(a.status), Content: contents(registry, a.forms)}
		for _, h := range a.headers {
			if response.Headers == nil {
				response.Headers = map[string]*huma.Param{}
			}
			response.Headers[h.name] = &huma.Param{Description: h.doc, Schema: &huma.Schema{Type: huma.TypeString}}
		}
		op.Responses[strconv.Itoa(a.status)] = response
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem (RFC 9457): its type is stable, its detail says what to do.",
		Content:     contents(registry, []content{{typeProblem, reflect.TypeFor[Problem]()}}),
	}
	return op
}

// pathParameters are those in braces.
func pathParameters(path string) (list []*huma.Param) {
	longest := 128
	if strings.HasPrefix(path, "/v1/functions/") {
		longest = 64
	}
	for _, row := range []struct{ name, pattern, doc string }{
		{"name", fmt.Sprintf("^[a-zA-Z0-9_.-]{1,%d}$", longest), "The name: letters, digits, '-', '_' and '.'."},
		{"key", "^.{1,512}$", "The key of an entry, of 1 to 512 bytes, with what has a meaning in URLs escaped: a slash is %2F."},
		{"alias", "^[a-zA-Z0-9_-]{0,127}[a-zA-Z_-][a-zA-Z0-9_-]{0,127}$", "The alias: 1 to 128 letters, digits, '-' and '_', not digits only."},
		{"capsule", "^[a-zA-Z0-9_-]{1,128}$", "The capsule's id."},
		{"invocation", "^.{1,128}$", "The invocation's id."},
		{"version", "^[1-9][0-9]{0,9}$", "The number of a version."},
	} {
		if strings.Contains(path, "{"+row.name+"}") {
			list = append(list, &huma.Param{
				Name: row.name, In: "path", Required: true, Description: row.doc,
				Schema: &huma.Schema{Type: huma.TypeString, Pattern: row.pattern},
			})
		}
	}
	return list
}

// parameters are the path's, the query's and the headers.
func parameters(registry huma.Registry, rt route) []*huma.Param {
	list := pathParameters(rt.path)
	for _, f := range queryFields(rt.action.query) {
		schema := huma.SchemaFromField(registry, f, f.Name)
		schema.Nullable = false
		if f.Type == reflect.TypeFor[Variables]() {
			schema = &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString, Pattern: "^[A-Za-z_][A-Za-z0-9_]*=", Examples: []any{"LEVEL=debug"}}}
		}
		p := &huma.Param{Name: f.Tag.Get("query"), In: "query", Description: f.Tag.Get("doc"), Schema: schema}
		if schema.Type == huma.TypeArray {
			explode := true
			p.Explode = &explode
		}
		list = append(list, p)
	}
	for _, h := range rt.action.takes {
		list = append(list, &huma.Param{Name: h.name, In: "header", Description: h.doc, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	return list
}

// contents describes the forms of a body.
func contents(registry huma.Registry, forms []content) map[string]*huma.MediaType {
	if len(forms) == 0 {
		return nil
	}
	m := make(map[string]*huma.MediaType, len(forms))
	for _, form := range forms {
		if form.of == nil {
			m[form.mediaType] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
			continue
		}
		m[form.mediaType] = &huma.MediaType{Schema: registry.Schema(form.of, true, "")}
	}
	return m
}

// refine corrects two of the registry's habits: arrays are never null here, and
// only what is sent to the host refuses unknown members; clients have to bear
// with members that later versions add.
func refine(registry huma.Registry, table []route) {
	strict := map[string]bool{}
	for _, rt := range table {
		for _, form := range rt.action.in {
			if form.of != nil {
				markStrict(registry, registry.Schema(form.of, true, ""), strict)
			}
		}
	}
	schemas := registry.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		if !strict[name] {
			schemas[name].AdditionalProperties = nil
		}
		for _, property := range schemas[name].Properties {
			property.Nullable = false
		}
	}
}

// markStrict notes the schemas that a request's schema is made of.
func markStrict(registry huma.Registry, s *huma.Schema, strict map[string]bool) {
	if s == nil {
		return
	}
	if name, ok := strings.CutPrefix(s.Ref, schemaPrefix); ok {
		if strict[name] {
			return
		}
		strict[name] = true
		s = registry.SchemaFromRef(s.Ref)
	}
	markStrict(registry, s.Items, strict)
	for _, property := range s.Properties {
		markStrict(registry, property, strict)
	}
}
