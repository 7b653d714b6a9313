package web_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"
)

// The vendored files equal the release of uPlot 1.6.32.
func TestVendoredAssetsAreAsReleased(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"assets/uplot.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"assets/uplot.css":    "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s has the digest %s, want %s", file, got, want)
		}
	}
}
