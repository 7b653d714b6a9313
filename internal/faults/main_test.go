package faults_test

import (
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
