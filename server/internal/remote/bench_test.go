package remote

import (
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// BenchmarkTransfer moves 1 MiB over one pooled SFTP session to a host in the same process.
func BenchmarkTransfer(b *testing.B) {
	f := start(b, fakessh.Options{})
	data := random(1 << 20)
	f.write(b, "in", data, 0o644)
	if err := f.host.FS().WriteFile("src", data, 0o644); err != nil {
		b.Fatal(err)
	}
	for _, file := range []File{
		{Direction: Upload, Local: f.local(b, "in"), Remote: "/dst"},
		{Direction: Download, Local: f.local(b, "out"), Remote: "/src"},
	} {
		b.Run(string(file.Direction), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := f.transfer(b.Context(), file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
