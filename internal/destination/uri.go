package destination

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shardmill/shardmill/internal/field"
)

// Schemes of URIs, and labels of metrics.
const (
	schemeStream = "stream"
	schemeS3     = "s3"
	schemeHTTP   = "http"
	schemeHTTPS  = "https"
	schemeFile   = "file"
)

// maxURI is how many bytes a URI may have.
const maxURI = 2048

// maxPrefix is how many bytes a prefix within a bucket may have.
const maxPrefix = 512

// target is a URI taken apart.
type target struct {
	scheme string
	name   string   // of the stream or bucket; the folder's absolute path
	prefix string   // within the bucket; empty, or it ends with a slash
	url    *url.URL // for HTTP
}

// parse takes a URI apart. Errors are *field.Error.
func parse(uri string) (target, error) {
	if len(uri) > maxURI {
		return target{}, field.Invalid(Field, fmt.Sprintf("%d bytes", len(uri)), fmt.Sprintf("at most %d bytes", maxURI))
	}
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return target{}, unknownScheme(uri)
	}
	switch scheme {
	case schemeStream:
		if rest == "" || strings.Contains(rest, "/") {
			return target{}, invalid(uri, "stream:NAME")
		}
		return target{scheme: scheme, name: rest}, nil
	case schemeS3:
		return parseBucket(uri)
	case schemeHTTP, schemeHTTPS:
		return parseHTTP(uri)
	case schemeFile:
		return parseFile(uri)
	}
	return target{}, unknownScheme(uri)
}

func unknownScheme(uri string) error {
	return invalid(uri, "stream:NAME, s3://bucket/prefix, https://host/path, http://host/path or file:///folder")
}

// invalid refuses the URI by its form.
func invalid(uri, limit string) error { return field.Invalid(Field, redacted(uri), limit) }

// refuse refuses a URI by what is there.
func refuse(uri, problem string) error {
	uri = redacted(uri)
	return &field.Error{Field: Field, Value: field.Cut(uri), Problem: "is " + field.Shown(uri) + ": " + problem}
}

// redacted is a URI without what may be secret in it: people put passwords before the host, and tokens behind the question mark.
func redacted(uri string) string {
	if scheme, _, _ := strings.Cut(uri, ":"); scheme != schemeHTTP && scheme != schemeHTTPS {
		return uri
	}
	u, err := url.Parse(uri)
	if err != nil {
		return schemeHTTPS + "://…"
	}
	return (&target{url: u}).shown()
}

// bucketName is S3's rule: no address of a server can be made of it.
var bucketName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]|\.[a-z0-9]){1,61}[a-z0-9]$`)

var ipLike = regexp.MustCompile(`^[0-9.]+$`)

// prefixForm keeps to the characters that no part between here and a bucket spells differently.
var prefixForm = regexp.MustCompile(`^[A-Za-z0-9!_.*'()/=-]*$`)

func parseBucket(uri string) (target, error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return target{}, invalid(uri, "s3://bucket or s3://bucket/prefix")
	}
	if len(bucket) > 63 || !bucketName.MatchString(bucket) || ipLike.MatchString(bucket) {
		return target{}, field.Invalid(Field, uri, "s3:// and a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens")
	}
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	if len(prefix) > maxPrefix || !prefixForm.MatchString(prefix) || unclean(prefix) {
		return target{}, field.Invalid(Field, uri,
			fmt.Sprintf("a prefix of at most %d letters, digits and !_.*'()/=-, without empty parts, . and ..", maxPrefix))
	}
	return target{scheme: schemeS3, name: bucket, prefix: prefix}, nil
}

// unclean is whether one of the parts between slashes is empty, . or ..; a slash at the end is none.
func unclean(prefix string) bool {
	for prefix != "" {
		var p string
		if p, prefix, _ = strings.Cut(prefix, "/"); p == "" || p == "." || p == ".." {
			return true
		}
	}
	return false
}

func parseHTTP(uri string) (target, error) {
	u, err := url.Parse(uri)
	switch {
	case err != nil, u.Opaque != "", u.Hostname() == "", u.Fragment != "", strings.Contains(u.Host, "%"):
		return target{}, invalid(uri, "a URL such as https://host/path")
	case u.User != nil:
		return target{}, invalid(uri, "without a user and password, which everybody who may see the mapping would see")
	}
	return target{scheme: u.Scheme, url: u}, nil
}

func parseFile(uri string) (target, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Opaque != "" || u.Host != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return target{}, invalid(uri, "file:///folder, with three slashes")
	}
	folder, err := cleanFolder(u.Path)
	if err != nil {
		return target{}, invalid(uri, "file:// and the absolute path of a folder")
	}
	return target{scheme: schemeFile, name: folder}, nil
}

// cleanFolder is an absolute path without detours.
func cleanFolder(folder string) (string, error) {
	if !filepath.IsAbs(folder) || strings.ContainsRune(folder, 0) {
		return "", fmt.Errorf("folder %q is no absolute path", folder)
	}
	return filepath.Clean(folder), nil
}

// shown is the URI in errors and logs.
func (t *target) shown() string {
	switch t.scheme {
	case schemeStream:
		return "stream:" + t.name
	case schemeS3:
		return "s3://" + t.name + "/" + t.prefix
	case schemeFile:
		return (&url.URL{Scheme: schemeFile, Path: t.name}).String()
	}
	shown := url.URL{Scheme: t.url.Scheme, Host: t.url.Host, Path: t.url.Path}
	return shown.String()
}
