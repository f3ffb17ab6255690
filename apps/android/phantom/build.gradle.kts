// For Android Studio. Not run by this project's tests, which use Maven: see ../README.md.
plugins {
    id("com.android.library") version "8.13.0"
    id("org.jetbrains.kotlin.android") version "2.4.21"
}

android {
    namespace = "phantom.edge"
    compileSdk = 35
    defaultConfig {
        minSdk = 26
    }
    sourceSets {
        getByName("main") {
            java.srcDirs("src/main/kotlin")
            resources.srcDirs("../../../export/targets/onnx")
            resources.include("byte_products.onnx", "matmul.onnx")
        }
    }
}

kotlin {
    explicitApi()
}

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.11.0")
    api("com.microsoft.onnxruntime:onnxruntime-android:1.28.0")
}
