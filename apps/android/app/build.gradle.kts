// For Android Studio. Not run by this project's tests, which use Maven and scripts/apk.py: see ../README.md.
plugins {
    id("com.android.application") version "8.13.0"
    id("org.jetbrains.kotlin.android") version "2.4.21"
}

android {
    namespace = "phantom.edge.app"
    compileSdk = 35
    defaultConfig {
        applicationId = "phantom.edge.app"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "0.1.0"
        ndk {
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
    }
    sourceSets {
        getByName("main") {
            java.srcDirs("src/main/kotlin")
            // nano.zip, which scripts/apk.py writes there; without it the first screen asks for a bundle
            assets.srcDirs("target/inside")
        }
    }
    androidResources {
        noCompress += "zip"
    }
}

dependencies {
    implementation(project(":phantom"))
}
