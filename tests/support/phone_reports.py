"""Output of a phone's own tools: ``dumpsys battery``, ``dumpsys thermalservice``, and ``getprop``."""

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Dock powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: {charge}
  status: 3
  health: 2
  present: true
  level: 85
  scale: 100
  voltage: 4000
  temperature: 273
  technology: Li-ion
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
\tkilled: false
\tbroadcasts count: -1
ThermalStatusListeners:
\tcallbacks: 5
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=OLD, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 1  connected: yes
Current temperatures from HAL:
\tTemperature{mValue=44.8, mType=0, mName=AP, mStatus=0}
\tTemperature{mValue=36.9, mType=5, mName=PA, mStatus=0}
\tTemperature{mValue=38.5, mType=3, mName=SKIN, mStatus=1}
\tTemperature{mValue=0.0, mType=4, mName=USB, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=77, mType=2, mName=thermal-cpufreq-0}
"""
PROPERTIES = {
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Phone 7",
    "ro.soc.model": "AC8000",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.build.display.id": "AP4A.250105.002",
}
