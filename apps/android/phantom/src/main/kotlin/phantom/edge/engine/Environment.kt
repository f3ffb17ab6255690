package phantom.edge.engine

import ai.onnxruntime.OrtEnvironment

/** ONNX Runtime, with nothing sent home: its builds for Windows report events to Microsoft unless asked not to. */
internal fun ortEnvironment(): OrtEnvironment = OrtEnvironment.getEnvironment().apply { setTelemetry(false) }
