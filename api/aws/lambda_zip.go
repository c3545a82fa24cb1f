package aws

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"strings"
)

// Limits of what CreateFunction and UpdateFunctionCode take.
const (
	maxModule       = 64 << 20 // bytes of a module
	maxUpload       = maxModule
	maxUploadBody   = (maxUpload+2)/3*4 + 64<<10
	maxDirectory    = 1 << 20 // bytes of a zip's directory: some 20,000 files
	moduleExtension = ".wasm"
)

// errUnzip is AWS's answer about a file that is no zip.
var errUnzip = refuseParameter("Could not unzip uploaded file. Please check your file, then try to upload again.")

// moduleOf is the WebAssembly module that was uploaded: the blob itself, or the one file of a zip whose name ends with .wasm.
func moduleOf(blob []byte) ([]byte, error) {
	if bytes.HasPrefix(blob, []byte("\x00asm")) {
		return blob, nil
	}
	source := &rationed{Reader: bytes.NewReader(blob), left: maxDirectory}
	z, err := zip.NewReader(source, int64(len(blob)))
	if err != nil {
		return nil, errUnzip
	}
	source.found = true
	var module *zip.File
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, moduleExtension) || f.FileInfo().IsDir() {
			continue
		}
		if module != nil {
			return nil, refuseParameter("The zip has more than one file whose name ends with %s: %s and %s. A function is one module.", moduleExtension, cut(module.Name), cut(f.Name))
		}
		module = f
	}
	if module == nil {
		return nil, refuseParameter("The zip has no file whose name ends with %s. A function is a WebAssembly module.", moduleExtension)
	}
	return unzip(module)
}

// unzip reads one file of a zip, which is at most as large as a module can be, whatever it says of itself.
func unzip(f *zip.File) ([]byte, error) {
	tooLarge := refuseParameter("Unzipped size must be smaller than %d bytes", maxModule)
	switch {
	case f.UncompressedSize64 > maxModule:
		return nil, tooLarge
	case !f.Mode().IsRegular():
		return nil, refuseParameter("%s in the zip is no regular file.", cut(f.Name))
	case f.Flags&1 != 0:
		return nil, refuseParameter("%s in the zip is encrypted.", cut(f.Name))
	}
	r, err := f.Open()
	if err != nil {
		return nil, errUnzip
	}
	module, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, errUnzip
	}
	if len(module) > maxModule {
		return nil, tooLarge
	}
	return module, nil
}

// rationed bounds how much is read of a zip to find its files: each takes many times its 46 bytes in memory. Once they are found there is no bound.
type rationed struct {
	*bytes.Reader
	left  int
	found bool
}

var errRation = errors.New("the zip's directory is too large")

func (r *rationed) ReadAt(b []byte, at int64) (int, error) {
	if !r.found {
		if r.left -= len(b); r.left < 0 {
			return 0, errRation
		}
	}
	return r.Reader.ReadAt(b, at)
}
