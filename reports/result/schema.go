package result

import _ "embed"

// JSONSchema describes a result file to other programs, in JSON Schema 2020-12. What is inside of gate and capacity it leaves open.
//
//go:embed schema.json
var JSONSchema []byte
