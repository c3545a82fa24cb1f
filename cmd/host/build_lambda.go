package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The packages that a program written for Lambda imports.
const (
	lambdaPackage        = "github.com/shardmill/shardmill/sdk/lambda"
	lambdaContextPackage = "github.com/aws/aws-lambda-go/lambdacontext"
)

// lambdaInitName is the file that the compiler reads beside those of a program written for Lambda. Inits run in the order of the files'
// names, and this one is to be the last: behind what the program calls zzz.go, too.
func lambdaInitName(dir string) string {
	const name = "shardmill_lambda.go"
	last := "zz_" + name
	files, err := os.ReadDir(dir)
	if err != nil {
		return last // the compiler says it
	}
	for _, f := range files {
		if base, source := strings.CutSuffix(f.Name(), ".go"); source && f.Name() >= last {
			last = base + "_" + name
		}
	}
	return last
}

// lambdaInit is that file: it has the program's main run when an instance is made, because nobody calls the main of a library. nil for
// other programs.
func lambdaInit(packages []string) []byte {
	if !slices.Contains(packages, lambdaPackage) || !slices.Contains(packages, packageMain) {
		return nil
	}
	if !slices.Contains(packages, lambdaContextPackage) {
		return []byte(lambdaInitPlain)
	}
	return []byte(lambdaInitContext)
}

// Names in these files are such that no program has them.
const (
	lambdaInitPlain = `package main

import shardmillLambda_ "` + lambdaPackage + `"

func init() { shardmillLambda_.Main(main, nil) }
`
	lambdaInitContext = `package main

import (
	shardmillContext_ "context"

	shardmillLambdaContext_ "` + lambdaContextPackage + `"
	shardmillLambda_ "` + lambdaPackage + `"
)

func init() {
	shardmillLambda_.Main(main, func(ctx shardmillContext_.Context, r shardmillLambda_.Request) shardmillContext_.Context {
		shardmillLambdaContext_.FunctionName, shardmillLambdaContext_.FunctionVersion = r.Function, r.Version
		return shardmillLambdaContext_.NewContext(ctx, &shardmillLambdaContext_.LambdaContext{AwsRequestID: r.ID, InvokedFunctionArn: r.Function})
	})
}
`
)

// overlayFile has the go command see a file in folder dir that is not there: the value of -overlay. remove removes what that takes.
func overlayFile(dir, name string, text []byte) (overlay string, remove func(), err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	temp, err := os.MkdirTemp("", "shardmill-build-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(temp) } // what stays is small, and the system's to remove
	file := filepath.Join(temp, name)
	var b bytes.Buffer
	err = json.NewEncoder(&b).Encode(map[string]map[string]string{"Replace": {filepath.Join(dir, name): file}})
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	overlay = filepath.Join(temp, "overlay.json")
	if err == nil {
		err = os.WriteFile(overlay, b.Bytes(), 0o600)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return overlay, remove, nil
}
