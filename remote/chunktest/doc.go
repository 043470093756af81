// Package chunktest tells what a store of chunks must do, and an object store under one,
// as suites that every implementation runs. Beside them are a real chunk store in memory
// and a faulty one, which fails when it is told to.
package chunktest
