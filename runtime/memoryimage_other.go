//go:build !linux

package runtime

import "errors"

// newImageFile has no such file to give: images are copied.
func newImageFile() (imageFile, error) { return nil, errors.ErrUnsupported }
